/// A set of Unicode scalars, as a class of a regular expression describes it.
struct ScalarSet: Sendable {
  /// One part of a class: ranges and general categories, or everything but these.
  struct Item: Sendable {
    var ranges: [ClosedRange<UInt32>] = []
    /// One bit for each general category.
    var categories: UInt32 = 0
    var isNegated = false

    func contains(_ scalar: UInt32) -> Bool {
      if ranges.contains(where: { $0.contains(scalar) }) { return !isNegated }
      guard categories != 0, let scalar = Unicode.Scalar(scalar) else { return isNegated }
      return (categories & scalar.properties.generalCategory.bit != 0) != isNegated
    }
  }

  private let items: [Item]
  private let isNegated: Bool
  /// Membership of scalars 0 to 63 and 64 to 127.
  private let low: UInt64, high: UInt64

  init(_ items: [Item], isNegated: Bool = false) {
    self.items = items
    self.isNegated = isNegated
    var bits: (UInt64, UInt64) = (0, 0)
    for scalar in UInt32(0)..<64 where Self.contains(scalar, items, isNegated) { bits.0 |= 1 << UInt64(scalar) }
    for scalar in UInt32(64)..<128 where Self.contains(scalar, items, isNegated) { bits.1 |= 1 << UInt64(scalar - 64) }
    (low, high) = bits
  }

  private static func contains(_ scalar: UInt32, _ items: [Item], _ isNegated: Bool) -> Bool {
    items.contains { $0.contains(scalar) } != isNegated
  }

  func contains(_ scalar: UInt32) -> Bool {
    if scalar < 64 { return low >> UInt64(scalar) & 1 == 1 }
    if scalar < 128 { return high >> UInt64(scalar - 64) & 1 == 1 }
    return Self.contains(scalar, items, isNegated)
  }
}

extension Unicode.Scalar {
  /// Whether it has the White_Space property.
  package static func isWhitespace(_ value: UInt32) -> Bool { ScalarSet.Item.whitespace.contains(value) }
}

extension ScalarSet.Item {
  static func literal(_ scalar: UInt32) -> Self { .init(ranges: [scalar...scalar]) }

  /// `\s`: the White_Space property.
  static let whitespace = Self(ranges: [0x9...0xD, 0x85...0x85], categories: category("Z") ?? 0)
  /// `\d`: decimal digits of all scripts.
  static let digit = Self(categories: category("Nd") ?? 0)
  /// `\w`: letters, marks, decimal digits and `_` with its like.
  static let word = Self(categories: ["L", "M", "Nd", "Pc"].reduce(0) { $0 | (category($1) ?? 0) })

  var negated: Self { .init(ranges: ranges, categories: categories, isNegated: !isNegated) }

  /// Whether it is a group of categories that holds a letter together with its other case, or no letters at all.
  var isCaseClosed: Bool {
    let cased = [Unicode.GeneralCategory.uppercaseLetter, .lowercaseLetter, .titlecaseLetter].reduce(0) { $0 | $1.bit }
    guard categories != 0 else { return false }
    return categories & cased == 0 || categories & cased == cased
  }

  /// With the other case of every ASCII letter, and the two scalars outside ASCII that fold to one: ſ to s, K to k.
  var ignoringCase: Self {
    var all = self
    for range in ranges {
      for scalar in max(range.lowerBound, 0x41)...max(min(range.upperBound, 0x7A), max(range.lowerBound, 0x41))
      where range.contains(scalar) {
        guard (0x41...0x5A).contains(scalar & ~0x20) else { continue }
        all.ranges.append((scalar ^ 0x20)...(scalar ^ 0x20))
        if scalar | 0x20 == 0x73 { all.ranges.append(0x17F...0x17F) }
        if scalar | 0x20 == 0x6B { all.ranges.append(0x212A...0x212A) }
      }
    }
    return all
  }

  /// The bits of a general category or a group of them, `Lu` or `L`; nil for other names.
  static func category(_ name: String) -> UInt32? {
    let names = Unicode.GeneralCategory.names.filter { $0.name == name || name.count == 1 && $0.name.hasPrefix(name) }
    return names.isEmpty ? nil : names.reduce(0) { $0 | $1.category.bit }
  }
}

extension Unicode.GeneralCategory {
  static let names: [(name: String, category: Unicode.GeneralCategory)] = [
    ("Lu", .uppercaseLetter), ("Ll", .lowercaseLetter), ("Lt", .titlecaseLetter), ("Lm", .modifierLetter),
    ("Lo", .otherLetter), ("Mn", .nonspacingMark), ("Mc", .spacingMark), ("Me", .enclosingMark),
    ("Nd", .decimalNumber), ("Nl", .letterNumber), ("No", .otherNumber), ("Pc", .connectorPunctuation),
    ("Pd", .dashPunctuation), ("Ps", .openPunctuation), ("Pe", .closePunctuation), ("Pi", .initialPunctuation),
    ("Pf", .finalPunctuation), ("Po", .otherPunctuation), ("Sm", .mathSymbol), ("Sc", .currencySymbol),
    ("Sk", .modifierSymbol), ("So", .otherSymbol), ("Zs", .spaceSeparator), ("Zl", .lineSeparator),
    ("Zp", .paragraphSeparator), ("Cc", .control), ("Cf", .format), ("Cs", .surrogate), ("Co", .privateUse),
    ("Cn", .unassigned),
  ]

  var bit: UInt32 {
    switch self {
    case .uppercaseLetter: 1 << 0
    case .lowercaseLetter: 1 << 1
    case .titlecaseLetter: 1 << 2
    case .modifierLetter: 1 << 3
    case .otherLetter: 1 << 4
    case .nonspacingMark: 1 << 5
    case .spacingMark: 1 << 6
    case .enclosingMark: 1 << 7
    case .decimalNumber: 1 << 8
    case .letterNumber: 1 << 9
    case .otherNumber: 1 << 10
    case .connectorPunctuation: 1 << 11
    case .dashPunctuation: 1 << 12
    case .openPunctuation: 1 << 13
    case .closePunctuation: 1 << 14
    case .initialPunctuation: 1 << 15
    case .finalPunctuation: 1 << 16
    case .otherPunctuation: 1 << 17
    case .mathSymbol: 1 << 18
    case .currencySymbol: 1 << 19
    case .modifierSymbol: 1 << 20
    case .otherSymbol: 1 << 21
    case .spaceSeparator: 1 << 22
    case .lineSeparator: 1 << 23
    case .paragraphSeparator: 1 << 24
    case .control: 1 << 25
    case .format: 1 << 26
    case .surrogate: 1 << 27
    case .privateUse: 1 << 28
    case .unassigned: 1 << 29
    @unknown default: 1 << 30
    }
  }
}
