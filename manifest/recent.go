package manifest

import (
	"sync"
	"time"
)

// Bounds of what is remembered in memory; beyond them it is forgotten, all at once.
const (
	maxRecent       = 4096
	maxSearchedRepo = 4096
)

// recentImages holds the images that were asked for in the store's present state. The zero value is empty.
type recentImages struct {
	mu     sync.Mutex
	images map[string]recentImage // by the definition's key
}

type recentImage struct {
	state string
	image *Image
}

func (r *recentImages) get(key, state string) *Image {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.images[key]; ok && m.state == state {
		return m.image
	}
	return nil
}

func (r *recentImages) put(key, state string, m *Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.images == nil || len(r.images) >= maxRecent {
		r.images = make(map[string]recentImage)
	}
	r.images[key] = recentImage{state, m}
}

func (r *recentImages) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images = nil
}

// searchAgain is after how long an unknown digest may lead to another search in the same state: records can be lost, and
// what was found once must not stay unknown. Images whose layers are remembered cost little to make again.
const searchAgain = time.Minute

// searchedRepositories remembers in which state, and when, a repository was last searched for unknown digests. The zero
// value is empty.
type searchedRepositories struct {
	mu     sync.Mutex
	states map[string]searchedState
}

type searchedState struct {
	state string
	at    time.Time
}

func (r *searchedRepositories) has(repository, state string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.states[repository]
	return ok && s.state == state && time.Since(s.at) < searchAgain
}

func (r *searchedRepositories) add(repository, state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.states == nil || len(r.states) >= maxSearchedRepo {
		r.states = make(map[string]searchedState)
	}
	r.states[repository] = searchedState{state, time.Now()}
}
