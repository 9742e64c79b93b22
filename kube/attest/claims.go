package attest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxToken bounds a token, in bytes. Those of Kubernetes have some 1,200.
const MaxToken = 16 << 10

// Claims is what a token says of itself. Nothing of it is proven: it tells the
// bearer, who trusts its own token, whether to send it.
type Claims struct {
	Audiences []string
	Expires   time.Time
	// Namespace, ServiceAccount and Pod are empty unless the token is a service
	// account's, and bound to a pod.
	Namespace, ServiceAccount string
	Pod, PodUID               string
}

// wireClaims is the second part of a token (JWT, RFC 7519), as Kubernetes writes it.
type wireClaims struct {
	Audience   audiences `json:"aud"`
	Expires    float64   `json:"exp"`
	Subject    string    `json:"sub"`
	Kubernetes struct {
		Namespace string `json:"namespace"`
		Pod       struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"pod"`
	} `json:"kubernetes.io"`
}

// audiences is a text or a list of texts.
type audiences []string

// UnmarshalJSON implements [json.Unmarshaler].
func (a *audiences) UnmarshalJSON(b []byte) error {
	var single string
	if json.Unmarshal(b, &single) == nil {
		*a = audiences{single}
		return nil
	}
	var many []string
	err := json.Unmarshal(b, &many)
	*a = many
	return err
}

// maxTime is the end of the year 9999 in seconds since 1970.
const maxTime = 253402300799

// Read reads what a token says of itself; it verifies nothing. The token is not in
// the error.
func Read(token string) (Claims, error) {
	if len(token) > MaxToken {
		return Claims{}, fmt.Errorf("token of %d bytes: expected at most %d", len(token), MaxToken)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return Claims{}, errors.New("token: expected a service account token, three parts with dots between them")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Claims{}, errors.New("token: its second part is not base64url; is it cut off?")
	}
	var w wireClaims
	if err := json.Unmarshal(payload, &w); err != nil {
		return Claims{}, errors.New("token: its second part does not hold the claims of a service account token") // the cause may quote it
	}
	if w.Expires < 0 || w.Expires > maxTime {
		return Claims{}, errors.New("token: it expires at no time there is")
	}
	c := Claims{Audiences: w.Audience, Pod: w.Kubernetes.Pod.Name, PodUID: w.Kubernetes.Pod.UID, Expires: time.Unix(int64(w.Expires), 0)}
	if rest, ok := strings.CutPrefix(w.Subject, userPrefix); ok {
		c.Namespace, c.ServiceAccount, _ = strings.Cut(rest, ":")
	}
	return c, nil
}

// Check reports, with everything that is wrong at once, why a token is not to be
// sent to a replica: it would prove nothing there, or something elsewhere too.
func (c Claims) Check(audience string, now time.Time) error {
	var errs []error
	if len(c.Audiences) != 1 || c.Audiences[0] != audience {
		errs = append(errs, fmt.Errorf("its audiences are %.200q: expected %q and no other, because who gets it could use it elsewhere; set audience: %s in the projected volume's serviceAccountToken", c.Audiences, audience, audience))
	}
	if c.Namespace == "" || c.ServiceAccount == "" {
		errs = append(errs, errors.New("it is not the token of a service account"))
	}
	if c.Pod == "" || c.PodUID == "" {
		errs = append(errs, errors.New("it is bound to no pod: expected the token of a projected volume (serviceAccountToken)"))
	}
	if !now.Before(c.Expires) {
		errs = append(errs, fmt.Errorf("it expired at %s, and it is %s here: the kubelet renews the file of a projected volume, so is this one a copy?", stamp(c.Expires), stamp(now)))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("the token was not sent to anybody: %w", errors.Join(errs...))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
