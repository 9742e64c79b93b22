package token

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Load returns the token that an operator's argument means: the token itself,
// "-" for standard input, or the path of a file. The argument is never part of
// an error, for it may be a secret that was mistyped.
func Load(arg string, stdin io.Reader) (Token, error) {
	arg = strings.TrimSpace(arg)
	if arg == "-" {
		return Read(stdin)
	}
	if strings.HasPrefix(arg, family) || len(arg) > MaxLength {
		return Parse(arg)
	}
	f, err := os.Open(arg)
	if err != nil {
		if len(arg) > 0 && strings.HasPrefix(Prefix, arg) {
			return Token{}, ErrTruncated
		}
		return Token{}, notAFile(err)
	}
	defer f.Close()
	return Read(f)
}

func notAFile(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return errors.New("the token file cannot be read: permission denied; run as its owner, or pass the token on standard input with -")
	}
	return fmt.Errorf("%w (nor is there a file of that name)", ErrGarbage)
}

// Read reads one token from r, which may hold white space besides.
func Read(r io.Reader) (Token, error) {
	b, err := io.ReadAll(io.LimitReader(r, 2*MaxLength))
	if err != nil {
		return Token{}, fmt.Errorf("read the token: %w", err)
	}
	return Parse(string(b))
}
