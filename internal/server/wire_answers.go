package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/binarycache"
	"github.com/nixreg/nixreg/store/realise"
)

// handler serves everything, for the given image hosts too; or the mirror of that name alone. A client waits no longer than
// wait at a time.
func (p *parts) handler(name string, hosts []string, wait time.Duration, log *slog.Logger) http.Handler {
	if i := slices.IndexFunc(p.mirrors, func(m registry.Mirror) bool { return m.Name == name }); i >= 0 {
		m := p.mirrors[i]
		return &registry.Handler{Source: m.Source, Lister: m.Lister, Referrers: m.Referrers, Hosts: m.Hosts, Wait: wait, Log: log}
	}
	s := served{p.source}
	return &registry.Handler{Source: s, Lister: s, Referrers: s, Hosts: hosts, Mirrors: p.mirrors, Faults: p.faults, Wait: wait, Log: log}
}

// faults are what is broken in definition files now, and the channels that could not be read yet, or not for long: as
// everybody may know it.
func (p *parts) faults(ctx context.Context) []string {
	all := p.source.Faults(ctx)
	for _, c := range p.channels {
		if err := unread(c); err != nil {
			all = append(all, cmp.Or(publicText(err), "the channel "+c.Name()+" cannot be read: the log of nixreg tells why"))
		}
	}
	return all
}

// publicText is what everybody may know of an error; "" if that is no more than its kind.
func publicText(err error) string {
	var p interface{ Public() string }
	if !errors.As(err, &p) {
		return ""
	}
	return p.Public()
}

// unread returns what keeps a channel from having any packages, or from having those of today; nil if it has them, or is
// being read. It never waits.
func unread(c store.Channel) error {
	if o, ok := c.(interface{ Outdated() error }); ok {
		if err := o.Outdated(); err != nil {
			return err
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel() // so that nothing is waited for
	for _, err := range c.Packages(ended) {
		if errors.Is(err, store.ErrUnavailable) {
			return err
		}
		break
	}
	return nil
}

// served is a manifest.Source as registry wants it: the two packages share no types of their own.
type served struct{ *manifest.Source }

func (s served) Manifest(ctx context.Context, r registry.Request) (*v1.Descriptor, error) {
	d, err := s.Source.Manifest(ctx, manifest.Request{Repository: r.Repository, Tag: r.Tag, Digest: r.Digest, Accept: r.Accept})
	return d, answer(err)
}

func (s served) Blob(ctx context.Context, r registry.BlobRequest) (registry.Blob, error) {
	if r.Head {
		n, err := s.BlobSize(ctx, r.Repository, r.Digest)
		return registry.SizeOnly(n), answer(err)
	}
	b, err := s.Source.Blob(ctx, r.Repository, r.Digest)
	if err != nil {
		return nil, answer(err)
	}
	return servedBlob{b}, nil
}

func (s served) Tags(ctx context.Context, repository string) ([]string, error) {
	tags, err := s.Source.Tags(ctx, repository)
	return tags, answer(err)
}

func (s served) Repositories(ctx context.Context) ([]string, error) {
	all, err := s.Source.Repositories(ctx)
	return all, answer(err)
}

func (s served) Referrers(ctx context.Context, repository string, digest v1.Hash) ([]v1.Descriptor, error) {
	all, err := s.Source.Referrers(ctx, repository, digest)
	return all, answer(err)
}

// servedBlob is a blob that may have to be fetched when it is read.
type servedBlob struct{ manifest.Blob }

func (b servedBlob) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	return answer(b.Blob.WriteRange(ctx, w, off, n))
}

// answer gives an error that is not about what a client asked the status it has for clients. That a store cannot be asked
// now, or gives something else than it said, tells that what they want may be there, and is not ours to make; a build that
// failed, that it cannot be made.
func answer(err error) error {
	if s := (*registry.StatusError)(nil); err == nil || errors.As(err, &s) {
		return err
	}
	if b := answerOfBuild(err); b != nil {
		return b
	}
	if errors.Is(err, binarycache.ErrCorrupt) { // whose text has what the cache sent: that is for the log alone
		return &registry.StatusError{Status: http.StatusBadGateway, Text: "a binary cache gives something else than it says it has; the log of nixreg tells what", RetryAfter: retryAfter(err), Err: err}
	}
	if errors.Is(err, store.ErrUnavailable) {
		s := &registry.StatusError{Status: http.StatusBadGateway, RetryAfter: retryAfter(err), Err: err}
		if publicText(err) == "" {
			s.Text = "a store that may have it cannot be asked now; the log of nixreg tells which"
		}
		return s
	}
	return err
}

// retryAfter is when a store can be asked again, at most an hour from now: a client that comes earlier gets the same error. It
// is 0 if the store does not say.
func retryAfter(err error) time.Duration {
	var a interface{ RetryAfter() time.Duration }
	if !errors.As(err, &a) {
		return 0
	}
	return min(a.RetryAfter(), time.Hour)
}

// answerOfBuild is what clients get for an error of a build, nil if err is none.
func answerOfBuild(err error) error {
	if b := (*realise.BuildError)(nil); errors.As(err, &b) {
		return newFailedBuild(b, cmp.Or(publicText(err), b.What))
	}
	if errors.Is(err, realise.ErrBusy) {
		return &registry.StatusError{Status: http.StatusTooManyRequests, RetryAfter: whenBusy, Err: err}
	}
	return nil
}

// whenBusy is after what time it is worth asking again for a build, where too many wait.
const whenBusy = 30 * time.Second

// failedBuild tells a client why there is no image. To nixreg it is one that cannot be made, not a fault: clients show the
// text of such an answer (404) alone, and do not try again at once.
//
// Source: distribution, registry/client/errors, HandleErrorResponse, which Docker has too.
type failedBuild struct{ text string }

// clientLines is how many bytes of what Nix wrote go to a client, whose message is cut at its end otherwise.
const clientLines = 700

// newFailedBuild tells what Nix wrote, without what it quotes of the files that it evaluates. what is what was built: for a
// definition no more than where it stands.
func newFailedBuild(err *realise.BuildError, what string) *failedBuild {
	shown := slices.DeleteFunc(slices.Clone(err.Lines), quotesFile)
	for i, line := range shown {
		shown[i] = withoutValues(line)
	}
	lines := strings.Join(shown, " | ")
	if over := len(lines) - clientLines; over > 0 {
		lines = "…" + strings.ToValidUTF8(lines[over:], "")
	}
	if lines == "" {
		lines = err.Err.Error()
	}
	return &failedBuild{what + ": nix: " + lines}
}

// quotesFile reports whether a line of Nix's shows a line of a file, or a value, or where that is: "3|  x = y;", "3 | x = y", "|  ^",
// "--> fromTOML", "at /x.nix:3:5:", "trace: value".
//
// Source: Nix, libutil/error.cc, printCodeLines; toml11, format_underline; Nix, libexpr/primops.cc, prim_trace.
func quotesFile(line string) bool {
	line = strings.TrimSpace(line)
	return strings.HasPrefix(strings.TrimLeft(line, "0123456789 "), "|") || strings.HasPrefix(line, "at ") && strings.HasSuffix(line, ":") ||
		strings.HasPrefix(line, "-->") || strings.HasPrefix(line, "trace:")
}

var (
	builderLine = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._?=-]*> `)
	quotedValue = regexp.MustCompile(`"[^"]*("|$)`)
	quotedName  = regexp.MustCompile(`'[^']*('|$)`)
	plainName   = regexp.MustCompile(`^'[A-Za-z0-9_.+/-]*'$`)
)

// withoutValues takes out of a message of Nix what it quotes: values, which may come from a file, and names that are none of an
// attribute, a path or a derivation. What a builder says stays as it is.
func withoutValues(line string) string {
	if builderLine.MatchString(line) {
		return line
	}
	line = quotedValue.ReplaceAllString(line, `"…"`)
	return quotedName.ReplaceAllStringFunc(line, func(name string) string {
		if plainName.MatchString(name) {
			return name
		}
		return "'…'"
	})
}

func (e *failedBuild) Error() string        { return e.text }
func (e *failedBuild) Public() string       { return e.text }
func (e *failedBuild) Is(target error) bool { return target == fs.ErrInvalid }
