// Package corefile edits the configuration of CoreDNS as text: it adds a zone that is
// forwarded elsewhere, between two lines that mark it as ours, and takes it out again
// so that every byte is as it was. All of it is pure.
//
// What it does not understand it refuses: a file that is cut short, a zone that
// somebody else's block or plugin has, marks that were damaged. It never changes a
// line that it did not write.
package corefile
