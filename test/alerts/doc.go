// Package alerts holds what is shipped for watching against what there is: each
// metric of the alert rules and of the dashboard is one that a running gateway
// tells, with the labels that are asked for; each rule fires on what it is for.
package alerts
