package manifest

import (
	"time"

	"nixreg/manifest/digests"
)

// Bounds of what is remembered in memory; beyond them it is forgotten, all at once.
const (
	maxRecent       = 4096
	maxSearchedRepo = 4096
)

// recentImages holds the images that were asked for in the store's present state, by their definitions' keys.
type recentImages struct {
	digests.Memo[string, recentImage]
}

type recentImage struct {
	state string
	image *Image
}

func (r *recentImages) get(key, state string) *Image {
	if m, ok := r.Get(key); ok && m.state == state {
		return m.image
	}
	return nil
}

// searchAgain is after how long an unknown digest may lead to another search in the same state: records can be lost, and
// what was found once must not stay unknown. Images whose layers are remembered cost little to make again.
const searchAgain = time.Minute

// searchedRepositories remembers in which state, and when, a repository was last searched for unknown digests.
type searchedRepositories struct {
	digests.Memo[string, searchedState]
}

type searchedState struct {
	state string
	at    time.Time
}

func (r *searchedRepositories) has(repository, state string) bool {
	s, ok := r.Get(repository)
	return ok && s.state == state && time.Since(s.at) < searchAgain
}
