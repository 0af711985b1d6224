package main

import (
	"testing"

	"nixreg/internal/cases"
)

// TestCaseI3WarningOfReadyMade: check, inspect, the log and healthz tell of a Cmd that is text in a conf.json.
func TestCaseI3WarningOfReadyMade(t *testing.T) {
	cases.Open(t, "I3")
	runCase(t, "i3.txt")
}
