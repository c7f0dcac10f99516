/// How many parts work may be divided into.
package enum PartCount {
  /// Whoever reads a part makes a list of the others: a number that nobody asked for must not be one that memory does not hold.
  package static let limit = 1_000_000
}
