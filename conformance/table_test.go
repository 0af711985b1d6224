package conformance_test

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
)

// table is what every client made of every image: a row for each operation and layer encoding, a column for each image.
type table struct {
	columns []string
	rows    []*row
}

type row struct {
	client, operation, encoding string
	cells                       map[string]string // by column
}

func (tb *table) add(client, operation, encoding string, targets []target) *row {
	r := &row{client, operation, encoding, make(map[string]string)}
	for _, i := range targets {
		r.cells[i.column] = "NOT RUN" // until it is
	}
	tb.rows = append(tb.rows, r)
	return r
}

// text is the table for people; "-" is what the matrix does not ask for. Each expected refusal has a number, and its reason stands below.
func (tb *table) text() string {
	var b, notes strings.Builder
	numbers := make(map[string]int) // of reasons
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "client\toperation\tlayers\t"+strings.Join(tb.columns, "\t"))
	for _, r := range tb.rows {
		fmt.Fprintf(w, "%s\t%s\t%s", r.client, r.operation, r.encoding)
		for _, c := range tb.columns {
			cell := cmp.Or(r.cells[c], "-")
			if reason, ok := strings.CutPrefix(cell, "refused: "); ok {
				if numbers[reason] == 0 {
					numbers[reason] = len(numbers) + 1
					fmt.Fprintf(&notes, "[%d] expected: %s\n", numbers[reason], reason)
				}
				cell = fmt.Sprintf("refused [%d]", numbers[reason])
			}
			fmt.Fprint(w, "\t", cell)
		}
		fmt.Fprintln(w)
	}
	w.Flush() // into memory
	return b.String() + notes.String()
}

// publish shows the table in the test's log and in the file that $NIXREG_CLIENTS_TABLE names, as the log of a test that
// passes is not shown.
func (tb *table) publish(t *testing.T) {
	t.Helper()
	t.Logf("the clients:\n%s", tb.text())
	if file := os.Getenv("NIXREG_CLIENTS_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(tb.text()), 0o644); err != nil {
			t.Error(err)
		}
	}
}
