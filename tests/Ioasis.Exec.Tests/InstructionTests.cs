using FsCheck;
using FsCheck.Fluent;

namespace Ioasis.Exec.Tests;

public sealed class InstructionTests
{
    [Theory]
    [InlineData("8b07", 2, 4, "Load", 0)] // mov eax, [rdi]
    [InlineData("488b4708", 4, 8, "Load", 0)] // mov rax, [rdi+8]
    [InlineData("448907", 3, 4, "Store", 8)] // mov [rdi], r8d
    [InlineData("8a07", 2, 1, "Load", 0)] // mov al, [rdi]
    [InlineData("668b8f00010000", 7, 2, "Load", 1)] // mov cx, [rdi+256]
    [InlineData("c74704ffffffff", 7, 4, "Store", -1)] // mov dword [rdi+4], -1
    [InlineData("66c7070100", 5, 2, "Store", -1)] // mov word [rdi], 1
    [InlineData("c60701", 3, 1, "Store", -1)] // mov byte [rdi], 1
    [InlineData("0fb6078090", 3, 1, "Load", 0)] // movzx eax, byte [rdi]
    [InlineData("480fbf07", 4, 2, "Load", 0)] // movsx rax, word [rdi]
    [InlineData("486307", 3, 4, "Load", 0)] // movsxd rax, dword [rdi]
    [InlineData("8b048f", 3, 4, "Load", 0)] // mov eax, [rdi+rcx*4]
    [InlineData("8b0525000000", 6, 4, "Load", 0)] // mov eax, [rip+0x25]
    [InlineData("8b042510000000", 7, 4, "Load", 0)] // mov eax, [0x10]
    [InlineData("f6471c01", 4, 1, "Combine", -1)] // test byte [rdi+0x1c], 1
    [InlineData("830f10", 3, 4, "Combine", -1)] // or dword [rdi], 0x10
    [InlineData("8707", 2, 4, "Exchange", 0)] // xchg [rdi], eax
    public void An_instruction_is_decoded(string hex, int length, int size, string action, int register)
    {
        Instruction.TryDecode(Convert.FromHexString(hex), out Instruction instruction).ShouldBeTrue();
        instruction.Length.ShouldBe(length);
        instruction.Size.ShouldBe(size);
        instruction.Action.ToString().ShouldBe(action);
        instruction.Register.ShouldBe(register);
    }

    [Theory]
    [InlineData("89c8")] // mov eax, ecx: no memory
    [InlineData("f30f6f07")] // movdqu xmm0, [rdi]
    [InlineData("f3a4")] // rep movsb
    [InlineData("c3")]
    [InlineData("")]
    [InlineData("48")]
    [InlineData("c707")]
    public void What_is_not_known_is_left_to_the_program(string hex) =>
        Instruction.TryDecode(Convert.FromHexString(hex), out _).ShouldBeFalse();

    [Fact]
    public void No_bytes_make_the_decoder_fail_or_read_beyond_them() => Prop.ForAll<byte[]>(code =>
    {
        if (Instruction.TryDecode(code, out Instruction instruction))
        {
            instruction.Length.ShouldBeInRange(2, code.Length);
            instruction.Size.ShouldBeOneOf(1, 2, 4, 8);
            instruction.Register.ShouldBeInRange(-1, 15);
        }
    }).QuickCheckThrowOnFailure();
}
