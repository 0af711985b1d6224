package hostfile

import (
	"fmt"

	"github.com/nixreg/nixreg/store"
)

// Fill adds a file under as many paths as there is room for.
func (s *Store) Fill(name string) {
	s.names = make(map[store.Path]string)
	for i := range maxFiles {
		s.names[store.Path(fmt.Sprint(i))] = name
	}
}
