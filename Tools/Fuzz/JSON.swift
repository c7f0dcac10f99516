import JSON

/// What the parser accepts, the writer writes so that it reads back as the same value.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(start: start, count: count))
  guard let value = try? JSONParser.parse(input) else { return 0 }
  for indented in [false, true] {
    let text = value.text(indented: indented)
    guard let again = try? JSONParser.parse(text), again == value else { fatalError("reads back differently: \(text)") }
  }
  return 0
}
