// Package niceness lets the process of a test go before those that it starts, where
// the system allows it: on Linux, as root. What is started for the test is started
// [Ordinarily].
package niceness
