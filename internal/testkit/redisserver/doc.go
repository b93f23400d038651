// Package redisserver gives a test a real redis-server of its own: on a
// loopback port that nobody else has, with nothing kept on disk, able to hang,
// die and come back at the test's word, and gone when the test is over.
package redisserver
