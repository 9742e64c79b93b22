package pod

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The objects by which pods become members, in the namespace of the pods.
const (
	// InitName is the ConfigMap that lets the pod of ordinal 0 found the trust domain.
	InitName = "federator-init"
	// TrustDomainKey and RecipientKey are its keys.
	TrustDomainKey = "trustDomain"
	RecipientKey   = "recoveryRecipient"
	// FoundedAnnotation on it says that it was used. It founds nothing after that.
	FoundedAnnotation = "federator.dev/founded"

	// TokenKey is the key of the token in the Secret of [JoinSecret].
	TokenKey = "token"
	// ExpiresAnnotation on such a Secret says until when its token is good (RFC 3339).
	// Only those with it are replaced when their time is over, or their token was refused
	// for good.
	ExpiresAnnotation = "federator.dev/expires"

	// WaitingLabel is on the ConfigMaps of pods that wait for a token.
	WaitingLabel = "federator.dev/waiting"
)

// JoinSecret is the name of the Secret with the token of a pod.
func JoinSecret(pod string) string { return "federator-join-" + pod }

// WaitingName is the name of the ConfigMap by which a pod says that it waits.
func WaitingName(pod string) string { return "federator-waiting-" + pod }

// Founding is what the trust domain is founded with.
type Founding struct{ TrustDomain, RecoveryRecipient string }

// Founding returns what this pod shall found; nil if it shall join. A ConfigMap that
// was used says so for good: a disk that is lost later must not found a second trust
// domain of the name.
func (p *Pod) Founding(ctx context.Context) (*Founding, error) {
	if _, ordinal, err := p.Self.Ordinal(); err != nil || ordinal != 0 {
		return nil, err
	}
	found, err := p.Core.CoreV1().ConfigMaps(p.Self.Namespace).Get(ctx, InitName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s: %w", InitName, err)
	}
	if found.Annotations[FoundedAnnotation] != "" {
		return nil, nil
	}
	f := Founding{strings.TrimSpace(found.Data[TrustDomainKey]), strings.TrimSpace(found.Data[RecipientKey])}
	if f.TrustDomain == "" || f.RecoveryRecipient == "" {
		return nil, fmt.Errorf("ConfigMap %s: expected the keys %s and %s, found %d keys; make the recipient with federator recovery-key", InitName, TrustDomainKey, RecipientKey, len(found.Data))
	}
	return &f, nil
}

// Founded notes that this pod is a member of a trust domain, so that it founds none
// any more. It does nothing for other pods than that of ordinal 0.
func (p *Pod) Founded(ctx context.Context) error {
	if _, ordinal, err := p.Self.Ordinal(); err != nil || ordinal != 0 {
		return err
	}
	found, err := p.Core.CoreV1().ConfigMaps(p.Self.Namespace).Get(ctx, InitName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && found.Annotations[FoundedAnnotation] != "" {
		return nil
	}
	if err == nil {
		found = found.DeepCopy()
		metav1.SetMetaDataAnnotation(&found.ObjectMeta, FoundedAnnotation, "true")
		_, err = p.Core.CoreV1().ConfigMaps(p.Self.Namespace).Update(ctx, found, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("note in ConfigMap %s that the trust domain is founded: %w", InitName, err)
	}
	return nil
}

// Waiting says in the cluster that this pod waits for a token, with an empty disk.
// What an earlier pod of the name has said is replaced.
func (p *Pod) Waiting(ctx context.Context) error {
	name := WaitingName(p.Self.Name)
	said, err := p.Core.CoreV1().ConfigMaps(p.Self.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		if len(said.OwnerReferences) == 1 && string(said.OwnerReferences[0].UID) == p.Self.UID {
			return nil
		}
		if err := p.Core.CoreV1().ConfigMaps(p.Self.Namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete ConfigMap %s of an earlier pod: %w", name, err)
		}
	} else if !apierrors.IsNotFound(err) {
		return fmt.Errorf("ConfigMap %s: %w", name, err)
	}
	_, err = p.Core.CoreV1().ConfigMaps(p.Self.Namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{WaitingLabel: "true"},
			OwnerReferences: []metav1.OwnerReference{ownedBy(p.Self.Name, p.Self.UID)},
		},
		Data: map[string]string{"pod": p.Self.Name, "for": "the Secret " + JoinSecret(p.Self.Name) + " with a join token"},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("ConfigMap %s: %w", name, err)
	}
	return nil
}

// ownedBy has Kubernetes delete an object with its pod.
func ownedBy(pod, uid string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: types.UID(uid)}
}

// Admission is how a pod becomes a member: it founds the trust domain, or joins with a
// token.
type Admission struct {
	Founding *Founding
	Token    string
	// secret is the uid of the token's Secret if another is made in its place; "" for one
	// that somebody put there without saying until when it is good.
	secret types.UID
}

// Admit waits until this pod may found or has a token. waiting is told what is waited
// for, in words. An API server that does not answer decides nothing.
func (p *Pod) Admit(ctx context.Context, waiting func(string)) (Admission, error) {
	for {
		a, missing, err := p.admission(ctx)
		switch {
		case err != nil:
			waiting("the API server: " + err.Error())
		case missing == "":
			return a, nil
		default:
			waiting(missing)
		}
		if err := p.pause(ctx); err != nil {
			return Admission{}, err
		}
	}
}

// admission looks once, and says what is missing.
func (p *Pod) admission(ctx context.Context) (a Admission, missing string, err error) {
	if a.Founding, err = p.Founding(ctx); err != nil || a.Founding != nil {
		return a, "", err
	}
	if err := p.Waiting(ctx); err != nil {
		return a, "", err
	}
	name := JoinSecret(p.Self.Name)
	secret, err := p.Core.CoreV1().Secrets(p.Self.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return a, fmt.Sprintf("the Secret %s with a join token in its key %q: a running replica of this cluster puts it there, and for the first one federator join --context CLUSTER --to CLUSTER; or the ConfigMap %s lets it found a trust domain", name, TokenKey, InitName), nil
	case err != nil:
		return a, "", fmt.Errorf("the Secret %s: %w", name, err)
	case len(secret.Data[TokenKey]) == 0:
		return a, fmt.Sprintf("the key %q in Secret %s", TokenKey, name), nil
	}
	a.Token = strings.TrimSpace(string(secret.Data[TokenKey]))
	if secret.Annotations[ExpiresAnnotation] != "" {
		a.secret = secret.UID
	}
	return a, "", nil
}

// Discard removes the token of an admission, which lets nobody in any more, so that
// another is made. One without [ExpiresAnnotation] is left to who put it there.
func (p *Pod) Discard(ctx context.Context, a Admission) error {
	if a.secret == "" {
		return nil
	}
	name := JoinSecret(p.Self.Name)
	only := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(a.secret))}
	return gone("Secret", name, p.Core.CoreV1().Secrets(p.Self.Namespace).Delete(ctx, name, only))
}

// Settled removes what this pod needed to join: a token that was used, and the word
// that it waits.
func (p *Pod) Settled(ctx context.Context) error {
	err := p.Core.CoreV1().Secrets(p.Self.Namespace).Delete(ctx, JoinSecret(p.Self.Name), metav1.DeleteOptions{})
	also := p.Core.CoreV1().ConfigMaps(p.Self.Namespace).Delete(ctx, WaitingName(p.Self.Name), metav1.DeleteOptions{})
	return errors.Join(gone("Secret", JoinSecret(p.Self.Name), err), gone("ConfigMap", WaitingName(p.Self.Name), also))
}

// gone says what could not be deleted; nothing if it is not there.
func gone(kind, name string, err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("delete %s %s: %w", kind, name, err)
}

// ScaledDown reports whether this pod ends for good, because its StatefulSet is to
// have fewer pods, and not for a restart: in both cases it is told to end, but only
// in the first is its ordinal beyond the replicas that are wanted. To none is a
// pause: a region does not end by being switched off.
func (p *Pod) ScaledDown(ctx context.Context) (bool, error) {
	set, ordinal, err := p.Self.Ordinal()
	if err != nil {
		return false, err
	}
	want, err := replicasOf(ctx, p.Core, p.Self.Namespace, set)
	return err == nil && want > 0 && ordinal >= want, err
}
