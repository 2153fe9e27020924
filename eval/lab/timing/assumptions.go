package timing

import (
	"fmt"
	"slices"
)

// Assumptions say in plain sentences what the times rest on.
func (m *Model) Assumptions() []string {
	all := slices.Clone(m.profile.Assumes)
	if len(all) > 0 {
		all = append([]string{fmt.Sprintf("Nodes are %s.", m.profile.About)}, all...)
	}
	if d := m.cfg.Device; d.ImagesPerSecond > 0 {
		all = append(all, fmt.Sprintf("A node trains %.4g images/s and takes %v a step beside, as given.", d.ImagesPerSecond, d.Step))
	}
	all = append(all, fmt.Sprintf("One agent trains %.4g images/s at batch %d with %.3g of its node (%d on a node); the rest of a node costs nothing.",
		float64(m.work.Batch)/m.stepSeconds(), m.work.Batch, m.share(), m.work.AgentsPerNode))
	all = append(all, m.cfg.Network.assumptions()...)
	if !m.work.Durable {
		all = append(all, "Nobody waits for a disk.")
	}
	return append(all, m.cfg.Stragglers.assumption(), "Members divide an evaluation evenly, and what they send each other for it holds nobody up. Nobody fails, but for those that the schedule takes away.")
}

func (m *Model) stepSeconds() float64 { return float64(m.work.Batch)*m.pace.image + m.pace.step }

func (n Network) assumptions() []string {
	way := "in both directions at once"
	if n.Duplex == "half" {
		way = "in one direction at a time"
	}
	between := "a switch that carries whatever comes"
	if n.Switch > 0 {
		between = fmt.Sprintf("a medium of %v that all nodes share", n.Switch)
	}
	all := []string{
		fmt.Sprintf("Each node has a link of %v %s, of which %.4g %% is payload, and %v from a segment's last byte to its use; between them is %s.",
			n.Rate, way, 100*n.Payload, n.Latency, between),
		"An exchange is played segment by segment as agents carry it out: what can begin first does, streams into one node share its link, and a sender is at most 4 MiB ahead of its receiver.",
	}
	if n.Loss > 0 {
		all = append(all, fmt.Sprintf("Of %.3g packets in a hundred that are lost, TCP is bound by MSS/RTT·√(1.5/p) (Mathis et al. 1997); none waits for a timeout.", 100*n.Loss))
	}
	if n.Jitter > 0 {
		all = append(all, fmt.Sprintf("A segment is late by up to %v, evenly spread.", n.Jitter))
	}
	return all
}

func (s Stragglers) assumption() string {
	switch s.Distribution {
	case "fixed":
		return fmt.Sprintf("%.3g %% of the members, the same in all rounds (seed %d), take %g times as long to train.", 100*s.Share, s.Seed, s.Factor)
	case "lognormal":
		return fmt.Sprintf("Training times vary by member and round as a lognormal (seed %d): %.3g %% take more than %g times the median.", s.Seed, 100*s.Share, s.Factor)
	}
	return "All members train at the same speed, but for those that the schedule makes slow."
}
