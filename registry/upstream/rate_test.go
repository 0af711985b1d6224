package upstream

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/fetch/memnet"
)

// Documents and the texts of errors have to come, too.
func TestRateOfDocuments(t *testing.T) {
	for _, status := range []int{200, 404} {
		inNetwork(t, func(t *testing.T, n *network) {
			d := &memnet.Dripper{Data: strings.Repeat(" ", 100_000), Piece: 1, Pause: 7 * time.Second}
			n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
				if status == 404 {
					w.WriteHeader(status)
				}
				d.ServeHTTP(w, r)
			})
			start := time.Now()
			_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			var e *Error
			if took := time.Since(start); !errors.As(err, &e) || took > maxTries*slow.Limit+time.Minute {
				t.Errorf("%d: %v after %v", status, err, took)
			}
		})
	}
}
