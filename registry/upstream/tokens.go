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

// tokens are those in use, by repository. Safe for concurrent use.
type tokens struct{ byRepo lru.Cache[string, token] }

type token struct {
	access
	value string
	until time.Time
}

// get returns the token for a repository, "" if there is none that is valid at now, and for what is wanted beside it.
func (t *tokens) get(a access, now time.Time) string {
	tok, ok := t.byRepo.Get(a.repo)
	if !ok || a.more != "" && a.more != tok.more || !now.Before(tok.until) {
		return ""
	}
	return tok.value
}

// put keeps a token that the server gave at now for seconds, less a margin for its way.
func (t *tokens) put(a access, value string, seconds int, now time.Time) {
	life := defaultLife
	if seconds > 0 {
		life = time.Duration(min(seconds, int(maxLife/time.Second))) * time.Second
	}
	t.byRepo.Put(a.repo, token{a, value, now.Add(life - life/10)}, int64(len(a.repo)+len(a.more)+len(value)))
}

// drop forgets a token that was refused, if it is still the one in use.
func (t *tokens) drop(repo, value string) {
	if tok, ok := t.byRepo.Get(repo); ok && tok.value == value {
		t.byRepo.Delete(repo)
	}
}
