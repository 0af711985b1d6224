package pull

import (
	"errors"
	"strings"
	"unicode"

	"github.com/nixreg/nixreg/internal/errkind"
)

// ErrCorrupt is matched by errors about bytes that do not fit their digest, their size or the configuration.
var ErrCorrupt = errors.New("corrupt")

func corrupt(format string, args ...any) error {
	return errkind.New(ErrCorrupt, format, args...)
}

// malformed returns the error about a document that a parser refuses. The text of a parser's error may quote the document at
// any length, so it is cut and made printable.
func malformed(err error) error {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, err.Error())
	return corrupt("%.*s", maxParserText, text)
}

const maxParserText = 200 // bytes

func unsupported(format string, args ...any) error {
	return errkind.New(errors.ErrUnsupported, format, args...)
}
