package import Tensors

/// `int8-gG`: `Formats/encodings.md`, section 4.
package enum Int8Group: Scheme {
  package static var kind: Encoding.Kind { .int8 }
  /// Without −128, which some targets of a re-packing cannot hold.
  package static var codes: ClosedRange<Int> { -127...127 }

  package static var searchRange: Int { 4096 }
  package static var multipliers: [Int] { (0..<16).map { 896 + 8 * $0 } }

  package static func bytes(ofRun codes: [Int]) -> [UInt8] { codes.map { UInt8(bitPattern: Int8($0)) } }
  package static func codes(ofRun bytes: ArraySlice<UInt8>) -> [Int] { bytes.map { Int(Int8(bitPattern: $0)) } }
}
