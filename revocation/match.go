package revocation

type factKeys struct{}
