// Package token is the join token: one line of text that lets one new replica
// into the federation, once, within the hour.
//
// A token says where to go (addresses), whom to trust there (the SHA-256 of the
// roots' public keys: the pins) and by which right (an id and a secret). A token
// without a pin is refused, because whoever follows it would give its secret to
// any server that answers.
//
// Its text is
//
//	fedjoin1_ HEADER PAYLOAD CHECKSUM
//
// in base64url without padding, where HEADER is the length of PAYLOAD in three
// bytes, PAYLOAD is JSON and CHECKSUM the first six bytes of the SHA-256 of all
// before it. So a token that lost its end, was changed in copying, is of another
// version or is no token at all is each told apart, before anything is sent.
//
// Nothing but [Token.Encode] ever prints a secret.
package token
