// Package attest finds out which pod somebody is: by its projected service account
// token, which the API server of the own cluster reviews (TokenReview).
//
// # What a token has to be
//
// It is for the audience [Audience] and so for nothing but this; it is bound to a
// pod that lives, so that it ends with it; and the own API server signed it. The
// names of the pod, its namespace and its service account are what the API server
// says, never what the bearer or the token itself does. One pure function, judge,
// decides by the API server's answer.
//
// # Where a token goes
//
// From the pod to a replica of its own cluster, and from there to the API server of
// that cluster. It is not kept, not logged, in no error, and not passed on to any
// other replica. What the bearer can see for itself before it sends a token is in
// [Claims]: a token that others would take too never leaves the pod.
package attest
