package manifest

import (
	"time"

	"github.com/nixreg/nixreg/manifest/digests"
)

// maxSearchedRepo bounds of how many repositories it is remembered; beyond it all is forgotten at once.
const maxSearchedRepo = 4096

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
