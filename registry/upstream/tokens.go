package upstream

import (
	"container/list"
	"sync"
	"time"
)

const (
	maxTokens   = 1000
	defaultLife = 60 * time.Second // as the token specification has it
	maxLife     = 24 * time.Hour
)

// tokens are those in use, by repository. Of too many, those not used for longest are dropped.
type tokens struct {
	mu     sync.Mutex
	byRepo map[string]*list.Element // of *token
	order  list.List                // the one used last in front
}

type token struct {
	access
	value string
	until time.Time
}

// get returns the token for a repository, "" if there is none that is valid at now, and for what is wanted beside it.
func (t *tokens) get(a access, now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.byRepo[a.repo]
	if !ok {
		return ""
	}
	tok := e.Value.(*token)
	if a.more != "" && a.more != tok.more {
		return ""
	}
	if !now.Before(tok.until) {
		t.remove(e)
		return ""
	}
	t.order.MoveToFront(e)
	return tok.value
}

// put keeps a token that the server gave at now for seconds, less a margin for its way.
func (t *tokens) put(a access, value string, seconds int, now time.Time) {
	life := defaultLife
	if seconds > 0 {
		life = time.Duration(min(seconds, int(maxLife/time.Second))) * time.Second
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.byRepo[a.repo]; ok {
		t.remove(e)
	}
	if t.order.Len() >= maxTokens {
		t.remove(t.order.Back())
	}
	if t.byRepo == nil {
		t.byRepo = make(map[string]*list.Element)
	}
	t.byRepo[a.repo] = t.order.PushFront(&token{a, value, now.Add(life - life/10)})
}

// drop forgets a token that was refused, if it is still the one in use.
func (t *tokens) drop(repo, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.byRepo[repo]; ok && e.Value.(*token).value == value {
		t.remove(e)
	}
}

func (t *tokens) remove(e *list.Element) {
	delete(t.byRepo, e.Value.(*token).repo)
	t.order.Remove(e)
}
