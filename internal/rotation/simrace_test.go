//go:build race

package rotation

// fleetsByDefault is how many fleets of Runners are simulated, unless -seeds says
// how many. The race detector takes ten times as long.
const fleetsByDefault = 150
