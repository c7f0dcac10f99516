import ArgumentParser

/// A number of bytes as typed: `512MiB`, `1GiB`, `4GB`, `1048576`.
struct ByteCount: ExpressibleByArgument {
  let value: Int

  init?(argument: String) {
    let units = [
      "": 1, "b": 1, "kb": 1000, "mb": 1_000_000, "gb": 1_000_000_000, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
      "k": 1 << 10, "m": 1 << 20, "g": 1 << 30,
    ]
    let digits = argument.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    guard let number = Double(digits), let unit = units[argument.dropFirst(digits.count).lowercased()],
      number * Double(unit) >= 1, number * Double(unit) < 9e18
    else { return nil }
    value = Int(number * Double(unit))
  }

  var defaultValueDescription: String { value % (1 << 30) == 0 ? "\(value >> 30)GiB" : "\(value)" }
  static var allValueStrings: [String] { [] }
}
