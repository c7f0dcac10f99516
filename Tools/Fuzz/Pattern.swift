import Patterns

/// A pattern in the first line, searched for in the rest.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
  let parts = bytes.split(separator: 0x0A, maxSplits: 1, omittingEmptySubsequences: false)
  let text = parts.map { String(decoding: $0, as: UTF8.self) }
  if let pattern = try? SearchPattern(text.first ?? "") { _ = pattern.occurs(in: text.last ?? "") }
  return 0
}
