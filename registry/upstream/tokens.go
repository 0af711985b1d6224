package upstream

import (
	"time"

	"github.com/nixreg/nixreg/internal/lru"
)

const (
	maxTokens   = 4 << 20          // bytes
	defaultLife = 60 * time.Second // as the token specification has it
	maxLife     = 24 * time.Hour
)

// tokens keeps one token for each repository. Safe for concurrent use.
type tokens struct{ byRepo lru.Cache[string, token] }

type token struct {
	access
	value string
	until time.Time
}

// get returns a token that is valid at now and allows a, or "".
func (t *tokens) get(a access, now time.Time) string {
	tok, ok := t.byRepo.Get(a.repo)
	if !ok || a.more != "" && a.more != tok.more || !now.Before(tok.until) {
		return ""
	}
	return tok.value
}

// put keeps a token that the server gave at now for so many seconds, less a margin for the time it takes to arrive.
func (t *tokens) put(a access, value string, seconds int, now time.Time) {
	life := defaultLife
	if seconds > 0 {
		life = time.Duration(min(seconds, int(maxLife/time.Second))) * time.Second
	}
	t.byRepo.Put(a.repo, token{a, value, now.Add(life - life/10)}, int64(len(a.repo)+len(a.more)+len(value)))
}

// drop forgets a token that was refused. A newer one stays.
func (t *tokens) drop(repo, value string) {
	if tok, ok := t.byRepo.Get(repo); ok && tok.value == value {
		t.byRepo.Delete(repo)
	}
}
