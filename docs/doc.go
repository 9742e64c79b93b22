// Package docs is the manual. It holds no code but the test that keeps the manual
// true: whatever the program has, the pages have, and nothing else.
package docs
