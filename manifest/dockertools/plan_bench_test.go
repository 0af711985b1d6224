package dockertools

import (
	"testing"
)

// BenchmarkPlan divides the 322 paths of a large closure into 99 layers.
func BenchmarkPlan(b *testing.B) {
	closure, hidden := graphOf(b, goldens(b, "e-big")[0])
	for b.Loop() {
		Plan(closure, hidden, DefaultMaxLayers)
	}
}
