package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/nixreg/nixreg/internal/fetch"
)

const (
	// imdsTimeout bounds a question to the metadata service of the machine. Most machines have none.
	imdsTimeout = time.Second
	// minAnonymous is the time after a failure in which that service is not asked again. It doubles up to maxAnonymous.
	minAnonymous = 5 * time.Second
	maxAnonymous = 10 * time.Minute
	keysTimeout  = 30 * time.Second
	emptyHash    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of no bytes
)

// signer signs requests to S3.
type signer struct {
	region string
	v4     *v4.Signer
	keys   aws.CredentialsProvider // nil: none
	last   bool                    // keys come from the metadata service, which most machines do not have
	log    *slog.Logger
	now    func() time.Time

	mu        sync.Mutex    // guards what follows
	had       bool          // there have been keys
	pause     time.Duration // since the last try that failed
	anonymous time.Time     // until then requests are not signed
}

// newSigner looks for credentials where other programs for AWS do. The error for an absent profile matches fs.ErrInvalid.
//
// Source: AWS SDKs and tools reference guide, "Standardized credential providers".
func newSigner(ctx context.Context, b *bucket, log *slog.Logger) (*signer, error) {
	load := []func(*config.LoadOptions) error{
		config.WithDefaultRegion(b.region),
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) {
			o.Client = imds.New(imds.Options{HTTPClient: &http.Client{Timeout: imdsTimeout}, Retryer: aws.NopRetryer{}})
		}),
	}
	if b.profile != "" {
		load = append(load, config.WithSharedConfigProfile(b.profile))
	}
	conf, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("configuration of AWS: %s: %w", fetch.Printable(err.Error()), fs.ErrInvalid)
	}
	return &signer{
		region: b.region,
		v4:     v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), // S3 escapes once
		keys:   conf.Credentials,
		last:   aws.IsCredentialsProvider(conf.Credentials, (*ec2rolecreds.Provider)(nil)),
		log:    log,
		now:    time.Now,
	}, nil
}

// credentials returns the keys to sign with. It is no error if there are none.
func (s *signer) credentials(ctx context.Context) (keys aws.Credentials, ok bool, err error) {
	if s.keys == nil || !s.worthAsking() {
		return keys, false, nil
	}
	asked, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	keys, err = s.keys.Retrieve(asked)
	switch {
	case err == nil:
		s.succeed()
		return keys, true, nil
	case ctx.Err() != nil:
		return keys, false, ctx.Err()
	case s.last && s.giveUp():
		s.log.DebugContext(ctx, "no credentials for S3: requests go unsigned", "err", fetch.Printable(err.Error()))
		return keys, false, nil
	}
	return keys, false, fmt.Errorf("%w of AWS: %s", errCredentials, fetch.Printable(err.Error()))
}

func (s *signer) worthAsking() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.now().Before(s.anonymous)
}

func (s *signer) succeed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.had = true
}

// giveUp lets requests go unsigned for a while, and reports whether they may. They may not if there have been keys: a file that
// is denied to an unsigned request would count as absent.
func (s *signer) giveUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.had {
		return false
	}
	if now := s.now(); !now.Before(s.anonymous) { // another request has not done it at the same time
		s.pause = min(max(2*s.pause, minAnonymous), maxAnonymous)
		s.anonymous = now.Add(s.pause)
	}
	return true
}

// sign adds a signature to the header of r. It covers the URL and the range, not the headers that a proxy may change.
//
// Source: Amazon S3 API reference, "Authenticating requests: using the authorization header".
func (s *signer) sign(r *http.Request) error {
	keys, ok, err := s.credentials(r.Context())
	if err != nil || !ok {
		return err
	}
	signed := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: http.Header{"X-Amz-Content-Sha256": {emptyHash}}}
	if v := r.Header.Values("Range"); len(v) > 0 {
		signed.Header["Range"] = v
	}
	if err := s.v4.SignHTTP(r.Context(), keys, signed, emptyHash, "s3", s.region, s.now()); err != nil {
		return errors.Join(errCredentials, err)
	}
	for k, v := range signed.Header {
		r.Header[k] = v
	}
	return nil
}
