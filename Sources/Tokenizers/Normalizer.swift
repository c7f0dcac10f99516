@_spi(_Unicode) import Swift

/// What is done to text before it is cut: nothing, or composition to Unicode's form C.
enum Normalizer: Sendable {
  case none, nfc

  init(_ field: Field?) throws(TokenizerError) {
    self = .none
    guard let field else { return }
    let type = try field.type()
    switch type {
    case "NFC": self = .nfc
    case "Sequence":
      for element in try field.required("normalizers").elements() {
        if case .nfc = try Normalizer(element) { self = .nfc }
      }
    default: throw field.unsupported("normalizer `\(type)`")
    }
  }

  func normalize(_ text: [UInt8]) -> [UInt8] {
    // All of ASCII, and all of Latin-1, is in form C already.
    guard case .nfc = self, text.contains(where: { $0 > 0xC3 }) else { return text }
    var composed = String.UnicodeScalarView()
    // The standard library keeps its normalization under this name; it has no public one outside Foundation.
    composed.append(contentsOf: String(Self.orderingMarks(text))._nfc)
    return Array(String(composed).utf8)
  }

  /// The text with every run of combining marks in canonical order, which means the same and composes to the same. The
  /// standard library orders marks too, but in quadratic time, and a run can be as long as the text.
  private static func orderingMarks(_ text: [UInt8]) -> String.UnicodeScalarView {
    var ordered = String.UnicodeScalarView()
    // The order has the class above and the position below, so that marks of one class keep theirs.
    var run: [(order: Int, scalar: Unicode.Scalar)] = []
    for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
      let markClass = scalar.value < 0x300 ? 0 : Int(scalar.properties.canonicalCombiningClass.rawValue)
      if markClass > 0 {
        run.append((markClass << 48 | run.count, scalar))
        continue
      }
      if run.count > 1 { run.sort { $0.order < $1.order } }
      for mark in run { ordered.append(mark.scalar) }  // `append(contentsOf:)` may copy all that is there
      run.removeAll(keepingCapacity: true)
      ordered.append(scalar)
    }
    run.sort { $0.order < $1.order }
    for mark in run { ordered.append(mark.scalar) }
    return ordered
  }
}
