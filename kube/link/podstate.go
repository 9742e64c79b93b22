package link

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ending is the trouble of a pod that goes.
const ending = "it is being deleted"

// trouble says why a pod does not run or is not ready, in the words of Kubernetes; ""
// if it says nothing. at is where the pod is.
func trouble(at place, p *corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return ending
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "it is not scheduled: " + cmp.Or(c.Message, c.Reason)
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			return waiting(w, c.LastTerminationState.Terminated, at.inside("logs "+p.Name+" --previous"))
		}
		if t := c.State.Terminated; t != nil {
			return fmt.Sprintf("its container has ended: %s, exit code %d", t.Reason, t.ExitCode)
		}
	}
	if p.Status.Phase == corev1.PodPending {
		return "it is pending: " + cmp.Or(p.Status.Message, p.Status.Reason, "no node has taken it up yet")
	}
	return ""
}

// waiting says what a container waits for, and what to do where Kubernetes' word for
// it is known. before is the command that shows the log of the container before it.
func waiting(w *corev1.ContainerStateWaiting, last *corev1.ContainerStateTerminated, before string) string {
	said := w.Reason
	if w.Message != "" {
		said += ": " + w.Message
	}
	switch w.Reason {
	case "ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName":
		return said + "; put the image on the nodes or in a registry that they reach, and name it with --image"
	case "CrashLoopBackOff":
		if last != nil {
			said += fmt.Sprintf(" (last exit code %d)", last.ExitCode)
		}
		return said + "; see " + before
	}
	return said
}

// lastWord is the last that a replica's log (JSON lines) says it waits for, or failed
// at, as a sentence. Its log has no secrets.
func lastWord(log []byte) string {
	word := ""
	for line := range bytes.Lines(log) {
		var entry struct {
			Level   string `json:"level"`
			Message string `json:"msg"`
			For     string `json:"for"`
			Error   string `json:"error"`
		}
		switch {
		case json.Unmarshal(line, &entry) != nil:
			if text := strings.TrimSpace(string(line)); strings.HasPrefix(text, "federator: ") {
				word = strings.TrimPrefix(text, "federator: ")
			}
		case entry.Message == "waiting":
			word = "it waits for " + entry.For
		case entry.Level == "WARN" || entry.Level == "ERROR":
			word = strings.TrimSuffix(entry.Message+": "+entry.Error, ": ")
		}
	}
	return word
}
