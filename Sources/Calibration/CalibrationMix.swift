import Models

/// Texts of several sources in equal parts: half of the rows from each of two domains keep nearly all that each would gain alone,
/// while a domain that is left out loses most of it.
package struct CalibrationMix: Sendable {
  /// Where texts come from.
  package struct Source: Sendable {
    /// As it is shown: the name of a file, or `generated`.
    package let name: String
    package let texts: [CalibrationText]

    package init(name: String, texts: [CalibrationText]) {
      self.name = name
      self.texts = texts
    }
  }

  /// What was taken of a source.
  package struct Part: Sendable, Equatable {
    package let name: String
    /// Texts that there were.
    package let available: Int
    package internal(set) var texts = 0
    package internal(set) var rows = 0

    package init(name: String, available: Int, texts: Int = 0, rows: Int = 0) {
      self.name = name
      self.available = available
      self.texts = texts
      self.rows = rows
    }
  }

  package private(set) var texts: [CalibrationText] = []
  package private(set) var parts: [Part]
  /// The rows of all texts.
  package var rowCount: Int { parts.reduce(0) { $0 + $1.rows } }

  /// Takes texts, always from the source with the fewest rows so far that has any left, until there are `rows`. Within a source
  /// the seed decides the order.
  ///
  /// - Parameter ratios: ``NoisyCopies/ratios``.
  package init(
    _ sources: [Source], rows: Int, blockLength: Int, seed: UInt64, ratios: [Double] = NoisyCopies.maskRatios
  ) {
    parts = sources.map { Part(name: $0.name, available: $0.texts.count) }
    let orders = sources.enumerated().map { index, source in
      // By a number drawn for each text: (seed, source, text).
      source.texts.indices.map { text in
        (counterMix(counterMix(seed ^ counterMix(UInt64(index))) ^ counterMix(UInt64(text))), text)
      }.sorted { $0 < $1 }.map(\.1)
    }
    while rowCount < rows {
      let open = parts.indices.filter { parts[$0].texts < orders[$0].count }
      guard let next = open.min(by: { parts[$0].rows < parts[$1].rows }) else { break }
      let text = sources[next].texts[orders[next][parts[next].texts]]
      texts.append(text)
      parts[next].texts += 1
      parts[next].rows += NoisyCopies.rowCount(of: text, blockLength: blockLength, ratios: ratios)
    }
  }
}
