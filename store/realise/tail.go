package realise

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

const (
	maxTail  = 64 << 10 // bytes of stderr that are kept
	maxLines = 1 << 10
	endLines = 10
	endBytes = 1 << 10
)

// tail keeps the end of what is written to it. Safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool // the first line is not whole
}

// Write never fails or blocks: the writer is a running process.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if n > maxTail {
		p, t.cut = p[n-maxTail:], true
	}
	if over := len(t.buf) + len(p) - maxTail; over > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[min(over, len(t.buf)):])]
		t.cut = true
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

// last returns the lines for an error or a log.
func (t *tail) last() []string {
	const advice = "(use '--show-trace'" // for a user who typed the command
	return slices.DeleteFunc(t.lines(endLines, endBytes), func(l string) bool { return strings.HasPrefix(l, advice) })
}

// line returns the last line, "" if there is none yet.
func (t *tail) line() string {
	if l := t.lines(1, endBytes); len(l) > 0 {
		return l[0]
	}
	return ""
}

// lines returns the last lines that are not blank, oldest first: at most count, of size bytes together.
func (t *tail) lines(count, size int) []string {
	t.mu.Lock()
	text := string(t.buf)
	cut := t.cut
	t.mu.Unlock()
	if _, rest, more := strings.Cut(text, "\n"); cut && more {
		text = rest
	}
	return endOf(text, count, size)
}

func endOf(text string, count, size int) []string {
	var out []string
	for text != "" && len(out) < count {
		i := strings.LastIndexByte(text, '\n')
		l := cleanLine(text[i+1:])
		text = text[:max(i, 0)]
		if l == "" {
			continue
		}
		if len(l) > size {
			if len(out) == 0 {
				out = append(out, strings.ToValidUTF8(l[:size], ""))
			}
			break
		}
		size -= len(l)
		out = append(out, l)
	}
	slices.Reverse(out)
	return out
}

// escape matches the control sequences of terminals: colours and titles.
//
// Source: ECMA-48, section 5.4 (control sequences) and 5.6 (control strings).
var escape = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)`)

// Secrets in text: the part of a URL up to the last @ of its host, values of parameters with secret names, and the credentials of an
// Authorization header.
var (
	userinfo = regexp.MustCompile(`://[^/\s'"]*@`)
	secret   = regexp.MustCompile(`(?i)([?&;][\w.-]*(?:token|key|secret|sig|signature|passw|credential|auth)[\w.-]*=)[^&;\s'"]+`)
	bearer   = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w+/=.~-]+`)
)

// cleanLine returns the visible text of a line, without control characters and secrets.
func cleanLine(l string) string {
	l = strings.ToValidUTF8(l, "\ufffd")
	l = escape.ReplaceAllString(l, "")
	l = strings.TrimRight(l, "\r")
	l = l[strings.LastIndexByte(l, '\r')+1:] // progress is written over itself
	l = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, l)
	return redact(strings.TrimSpace(l))
}

// redact removes names, passwords and tokens from s.
func redact(s string) string {
	s = userinfo.ReplaceAllString(s, "://")
	s = secret.ReplaceAllString(s, "${1}…")
	return bearer.ReplaceAllString(s, "${1} …")
}
