// Package verdicts tries region verdicts for real: three regions of three agents
// each, in a network that loses or delays their packets for as long as it is told
// to, while regions are lost from time to time and come back.
//
// Every verdict of every agent is read from its log, so that none is too short to
// be noticed. One is false if no loss explains it: see [False]. Beside the agents,
// in the same regions and at the same time, live members of plain memberlist with
// its LAN and its WAN defaults, and are judged by the same losses.
//
// make verdicts runs it for long and writes the table of docs/reliability.md;
// [Length] says how long. A short run is part of the lab.
package verdicts
