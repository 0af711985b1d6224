// Package spell finds the word that a misspelled one was meant to be, for the "did you mean" of errors and warnings.
//
// It knows the distance between words and nothing of what they name. It owns no list of words.
package spell

import (
	"iter"
	"strings"
)

// maxWord bounds the words that are compared, in bytes. A longer word has no near one.
const maxWord = 64

// Near returns the one of words that is nearest to word, the first of several; "" if none is near. Upper and lower case, dashes
// and underscores count as equal. A word is near if at most a third of its letters differ, by optimal string alignment: a letter
// more, less, another, or two swapped.
func Near(word string, words iter.Seq[string]) string {
	best, least := "", maxWord
	plain := fold(word)
	if plain == "" {
		return ""
	}
	for w := range words {
		known := fold(w)
		limit := min(least-1, len(known)/3)
		if difference := len(known) - len(plain); max(difference, -difference) > limit {
			continue
		}
		if d := distance(plain, known); d <= limit && d < len(plain) {
			best, least = w, d
		}
		if least == 0 {
			break
		}
	}
	return best
}

// DidYouMean is the end of an error about word: ": did you mean BEST?", or "" if no word is near.
func DidYouMean(word string, words iter.Seq[string]) string {
	if best := Near(word, words); best != "" {
		return ": did you mean " + best + "?"
	}
	return ""
}

// fold is a word as it is compared.
func fold(s string) string {
	if len(s) <= maxWord {
		s = strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s))
	}
	if len(s) > maxWord { // as given, or in lower case
		return ""
	}
	return s
}

// distance is the optimal string alignment distance of two short words.
func distance(a, b string) int {
	var rows [3][maxWord + 1]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			replace := last[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
