// Package cedar is the decision point in this process, for who has none at hand:
// Cedar policies from a folder.
//
// What it promises: a folder is taken whole or not at all. All its policies parse,
// and fit its schema if there is one, or what was good before stays in use and the
// error says where what is wrong. Without a policy that permits, and with one that
// forbids, nobody may; a policy that forbids and can't be worked out forbids.
//
// How a question is put in Cedar's words:
//
//	subject   user::"auth:account:main:ada", with its properties as attributes; its roles
//	          are parents, too, so that `principal in role::"editor"` reads well
//	action    Action::"read"
//	resource  note::"7", with its properties as attributes
//	context   time (datetime), ip (ipaddr), correlation_id
//
// Cedar goes only through the policies whose scope can hold for a question (see
// scope.go): what a decision takes depends on those, and not on how many there are.
//
// Types are used as they are written in the mapping: `note` is the entity type note.
package cedar
