package import Tensors

/// `int4-gG`: `Formats/encodings.md`, section 5.
package enum Int4Group: Scheme {
  package static var kind: Encoding.Kind { .int4 }
  package static var codes: ClosedRange<Int> { -8...7 }

  package static var searchRange: Int { 1024 }
  package static var multipliers: [Int] { (0..<12).map { 198 + (103 * $0 + 5) / 11 } }

  // byte j of a run:   bits 0–3 = code of element j, plus 8;   bits 4–7 = code of element j + 16, plus 8
  package static func bytes(ofRun codes: [Int]) -> [UInt8] {
    (0..<16).map { UInt8(codes[$0] + 8) | UInt8(codes[$0 + 16] + 8) << 4 }
  }
  package static func codes(ofRun bytes: ArraySlice<UInt8>) -> [Int] {
    bytes.map { Int($0 & 15) - 8 } + bytes.map { Int($0 >> 4) - 8 }
  }
}
