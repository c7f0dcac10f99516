import JSON
import Testing
import Tokenizers

@Suite struct ChatTemplateTests {
  private let template = ChatTemplate(template: nil)

  @Test func oneQuestion() {
    #expect(
      template.prompt(for: [.init(.user, "Hi\n")])
        == "<role>SYSTEM</role>detailed thinking off<|role_end|><role>HUMAN</role>Hi\n<|role_end|>"
        + "<role>ASSISTANT</role>")
  }

  @Test func systemTextStandsBeforeTheSwitch() {
    #expect(
      template.prompt(for: [.init(.system, "Be brief."), .init(.user, "Hi")])
        == "<role>SYSTEM</role>Be brief.\ndetailed thinking off<|role_end|><role>HUMAN</role>Hi<|role_end|>"
        + "<role>ASSISTANT</role>")
  }

  @Test func laterTurns() {
    let prompt = template.prompt(
      for: [
        .init(.user, "a"), .init(.assistant, "<think>\nhm\n</think>\n\nb"), .init(.system, "s"), .init(.user, "c"),
      ],
      opensAnswer: false)
    #expect(
      prompt == "<role>SYSTEM</role>detailed thinking off<|role_end|><role>HUMAN</role>a<|role_end|>"
        + "<role>ASSISTANT</role>b<|role_end|><role>SYSTEM</role>s<|role_end|><role>HUMAN</role>c<|role_end|>")
  }

  @Test func thoughtsAfterTheLastQuestionStay() {
    let prompt = template.prompt(
      for: [.init(.user, "a"), .init(.assistant, "<think>hm</think>b")], opensAnswer: false)
    #expect(prompt.hasSuffix("<role>ASSISTANT</role>\n<think>\nhm\n</think>\n\nb<|role_end|>"))
  }

  @Test func anotherTemplateIsReported() throws {
    #expect(template.match == .absent)
    #expect(ChatTemplate(template: "{{ messages }}").match == .different)
    let tokenizer = try Fixture().tokenizer(config: ["chat_template": "{{ messages }}"])
    #expect(!tokenizer.chatTemplate.templateIsKnown)
    #expect(try Fixture().tokenizer(config: ["chat_template": [["name": "default"]]]).chatTemplate.match == .different)
  }
}
