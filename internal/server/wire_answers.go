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

// handler serves everything, also to clients that ask for one of hosts; or, with a name, that mirror alone. A client waits at
// most wait before it is redirected.
func (p *parts) handler(name string, hosts []string, wait time.Duration, log *slog.Logger) http.Handler {
	if i := slices.IndexFunc(p.mirrors, func(m registry.Mirror) bool { return m.Name == name }); i >= 0 {
		m := p.mirrors[i]
		return &registry.Handler{Source: m.Source, Lister: m.Lister, Referrers: m.Referrers, Hosts: m.Hosts, Wait: wait, Log: log}
	}
	s := served{p.source}
	return &registry.Handler{Source: s, Lister: s, Referrers: s, Hosts: hosts, Mirrors: p.mirrors, Faults: p.faults, Wait: wait, Log: log}
}

// faults are the public texts of what is broken now in definition files and channels.
func (p *parts) faults(ctx context.Context) []string {
	all := p.source.Catalog().Faults(ctx)
	for _, c := range p.channels {
		if err := unread(c); err != nil {
			all = append(all, cmp.Or(publicText(err), "the channel "+c.Name()+" cannot be read: the log of nixreg tells why"))
		}
	}
	return all
}

// publicText returns the part of an error that clients may see, or "".
func publicText(err error) string {
	var p interface{ Public() string }
	if !errors.As(err, &p) {
		return ""
	}
	return p.Public()
}

// unread returns the error that keeps a channel without packages, or without current ones. It returns nil while the channel is
// being read, and never waits.
func unread(c store.Channel) error {
	if o, ok := c.(interface{ Outdated() error }); ok {
		if err := o.Outdated(); err != nil {
			return err
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel() // do not wait
	for _, err := range c.Packages(ended) {
		if errors.Is(err, store.ErrUnavailable) {
			return err
		}
		break
	}
	return nil
}

// served adapts a manifest.Source to package registry, which does not import manifest.
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

// servedBlob is a blob whose bytes may have to be fetched while it is read.
type servedBlob struct{ manifest.Blob }

func (b servedBlob) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	return answer(b.Blob.WriteRange(ctx, w, off, n))
}

// answer gives errors of stores and builds their HTTP status. If a store is unavailable or sends wrong bytes, the status is
// 502: the image may exist. If a build fails, it is 404.
func answer(err error) error {
	if s := (*registry.StatusError)(nil); err == nil || errors.As(err, &s) {
		return err
	}
	if b := answerOfBuild(err); b != nil {
		return b
	}
	if errors.Is(err, binarycache.ErrCorrupt) { // its text quotes the cache: only for the log
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

// retryAfter is the time after which the store can be asked again, at most an hour; 0 if the store gives none.
func retryAfter(err error) time.Duration {
	var a interface{ RetryAfter() time.Duration }
	if !errors.As(err, &a) {
		return 0
	}
	return min(a.RetryAfter(), time.Hour)
}

// answerOfBuild is the answer for an error of a build, or nil if err is none.
func answerOfBuild(err error) error {
	if b := (*realise.BuildError)(nil); errors.As(err, &b) {
		return newFailedBuild(b, cmp.Or(publicText(err), b.What))
	}
	if errors.Is(err, realise.ErrBusy) {
		return &registry.StatusError{Status: http.StatusTooManyRequests, RetryAfter: whenBusy, Err: err}
	}
	return nil
}

// whenBusy is the Retry-After for a build if the queue is full.
const whenBusy = 30 * time.Second

// failedBuild is the answer for a failed build. It is a 404, since clients show the text of a 404 and do not retry it at once.
//
// Source: distribution, registry/client/errors, HandleErrorResponse, which Docker has too.
type failedBuild struct{ text string }

// clientLines bounds the output of Nix in an answer, in bytes. Clients cut longer messages at the end.
const clientLines = 700

// newFailedBuild quotes the output of Nix without the lines and values that come from files. what names the build; for a
// definition, only its place.
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

// quotesFile reports whether a line of Nix's output quotes a file or a value, or gives a place in a file: "3|  x = y;", "3 | x
// = y", "|  ^", "--> fromTOML", "at /x.nix:3:5:", "trace: value".
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

// withoutValues replaces quoted values, and quoted names that are not an attribute, a path or a derivation. Lines of builders
// are unchanged.
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
