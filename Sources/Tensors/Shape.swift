/// Dimensions of a tensor, slowest first. A matrix is (rows, columns) = (out features, in features).
package struct Shape: Sendable, Equatable, Hashable, CustomStringConvertible {
  package let dimensions: [Int]
  /// Product of the dimensions; 1 for a scalar.
  package let elementCount: Int

  /// Nil when a dimension is negative or the product does not fit an `Int`.
  package init?(_ dimensions: [Int]) {
    var product = 1
    for dimension in dimensions {
      let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
      guard dimension >= 0, !overflow else { return nil }
      product = next
    }
    self.dimensions = dimensions
    elementCount = product
  }

  /// A matrix whose size the caller knows to be sane.
  package init(rows: Int, columns: Int) {
    precondition(rows >= 0 && columns >= 0)
    dimensions = [rows, columns]
    elementCount = rows * columns
  }

  /// The last dimension; groups run along it.
  package var columns: Int { dimensions.last ?? 1 }
  /// How many runs of `columns` elements there are: a vector is one row.
  package var rows: Int { columns == 0 ? 0 : elementCount / columns }

  package var description: String { "[" + dimensions.map(String.init).joined(separator: ", ") + "]" }
}
