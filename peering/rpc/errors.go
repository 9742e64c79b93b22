package rpc

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// domain tells our reasons from those of other software (google.rpc.ErrorInfo).
const domain = "federator"

// Error makes an error that crosses the wire with a reason: a word in capitals
// that callers branch on, and the message for people.
func Error(code codes.Code, reason, message string) error {
	s, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: domain})
	if err != nil { // only if code is OK
		return status.Error(codes.Internal, message)
	}
	return s.Err()
}

// Reason returns the reason of an error made by [Error] at this or the other end
// of a call, or "".
func Reason(err error) string {
	s, ok := status.FromError(err)
	if !ok {
		return ""
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			return info.GetReason()
		}
	}
	return ""
}
