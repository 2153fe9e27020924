package kernel

import "math"

// CrossEntropy is the softmax cross-entropy of n rows of logits, (n, c), summed over the rows, and how many rows have
// their largest logit, the first of equals, at the label. A row with a NaN is not correct.
func CrossEntropy(logits []float32, labels []int32, c int) (loss float64, correct int) {
	for r, label := range labels {
		row := logits[r*c:][:c]
		top, sum := softSum(row)
		loss += math.Log(sum) - (float64(row[label]) - float64(row[top]))
		if top == int(label) && !math.IsNaN(sum) {
			correct++
		}
	}
	return loss, correct
}

// CrossEntropyDX writes the gradient of scale times the summed loss by the logits.
func CrossEntropyDX(dx, logits []float32, labels []int32, c int, scale float64) {
	for r, label := range labels {
		row, out := logits[r*c:][:c], dx[r*c:][:c]
		top, sum := softSum(row)
		for i, v := range row {
			out[i] = float32(scale * math.Exp(float64(v)-float64(row[top])) / sum)
		}
		out[label] -= float32(scale)
	}
}

// softSum is the place of the largest logit, and Σ exp of the logits' distances to it.
func softSum(row []float32) (top int, sum float64) {
	for i, v := range row {
		if v > row[top] {
			top = i
		}
	}
	for _, v := range row {
		sum += math.Exp(float64(v) - float64(row[top]))
	}
	return top, sum
}
