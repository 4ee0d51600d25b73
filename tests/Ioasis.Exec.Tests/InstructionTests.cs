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
    [InlineData("480fc307", 4, 8, "Store", 0)] // movnti [rdi], rax
    [InlineData("480f38f907", 5, 8, "Store", 0)] // movdiri [rdi], rax
    [InlineData("f30f6f07", 4, 16, "LoadVector", 0)] // movdqu xmm0, [rdi]
    [InlineData("66440f7f4710", 6, 16, "StoreVector", 8)] // movdqa [rdi+16], xmm8
    [InlineData("0f1107", 3, 16, "StoreVector", 0)] // movups [rdi], xmm0
    [InlineData("f20f100f", 4, 8, "LoadVector", 1)] // movsd xmm1, [rdi]
    [InlineData("f30f1107", 4, 4, "StoreVector", 0)] // movss [rdi], xmm0
    [InlineData("660fd607", 4, 8, "StoreVector", 0)] // movq [rdi], xmm0
    [InlineData("660f382a07", 5, 16, "LoadVector", 0)] // movntdqa xmm0, [rdi]
    [InlineData("c5fe6f07", 4, 32, "LoadVector", 0)] // vmovdqu ymm0, [rdi]
    [InlineData("c57e7f4720", 5, 32, "StoreVector", 8)] // vmovdqu [rdi+32], ymm8
    [InlineData("c4c17a6f0424", 6, 16, "LoadVector", 0)] // vmovdqu xmm0, [r12]
    [InlineData("62e1fe286f07", 6, 32, "LoadVector", 16)] // vmovdqu64 ymm16, [rdi]
    [InlineData("62f1fe487f4f01", 7, 64, "StoreVector", 1)] // vmovdqu64 [rdi+64], zmm1
    [InlineData("a4", 1, 1, "MoveString", 0)] // movsb
    [InlineData("f348a5", 3, 8, "MoveString", 0)] // rep movsq
    [InlineData("f3ab", 2, 4, "StoreString", 0)] // rep stosd
    [InlineData("66ad", 2, 2, "LoadString", 0)] // lodsw
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
    [InlineData("0f6f07")] // movq mm0, [rdi]: MMX
    [InlineData("c5f058c1")] // vaddps xmm0, xmm1, xmm1
    [InlineData("c5f01207")] // vmovlps xmm0, xmm1, [rdi]: a second source
    [InlineData("62f17e496f07")] // vmovdqu32 zmm0 {k1}, [rdi]: a mask
    [InlineData("64f3a4")] // rep movs from fs
    [InlineData("f3a6")] // rep cmpsb
    [InlineData("c5fe6f")]
    [InlineData("f3")]
    [InlineData("c3")]
    [InlineData("")]
    [InlineData("48")]
    [InlineData("c707")]
    public void What_is_not_known_is_left_to_the_program(string hex) =>
        Instruction.TryDecode(Convert.FromHexString(hex), out _).ShouldBeFalse();

    [Theory]
    [InlineData("660f38f802", 5, 0, 0x2_0000)] // movdir64b rax, [rdx]
    [InlineData("f20f38f802", 5, 0, 0x2_0000)] // enqcmd rax, [rdx]
    [InlineData("f2440f38f84c2410", 8, 9, 0x1_3010)] // enqcmd r9, [rsp+16]
    [InlineData("66440f38f84c2410", 8, 9, 0x1_3010)] // movdir64b r9, [rsp+16]
    [InlineData("66410f38f80424", 7, 0, 0xc_0000)] // movdir64b rax, [r12]
    [InlineData("660f38f8848a00100000", 10, 0, 0x2_0000 + (4 * 0x1_0000) + 0x1000)] // movdir64b rax, [rdx+rcx*4+0x1000]
    [InlineData("660f38f80510000000", 9, 0, 0x40_0000 + 9 + 16)] // movdir64b rax, [rip+16]
    [InlineData("64660f38f802", 6, 0, 0x7000_0000 + 0x2_0000)] // movdir64b rax, fs:[rdx]
    [InlineData("660f38f8042500200000", 10, 0, 0x2000)] // movdir64b rax, [0x2000]
    public void A_store_of_64_bytes_is_decoded_with_its_source(string hex, int length, int destination, ulong source)
    {
        byte[] code = Convert.FromHexString(hex);
        BlockStore.TryDecode(code, out BlockStore store).ShouldBeTrue();
        (store.Length, store.Destination, store.IsCommand).ShouldBe((length, destination, code[0] == 0xf2));
        Registers registers = default;
        Span<ulong> all = registers;
        all[10] = 0xdead;
        all[11] = 0x1_0000;
        all[12] = 0x2_0000;
        all[19] = 0x1_3000;
        all[3] = 0xc_0000;
        all[16] = 0x40_0000;
        all[21] = 0x7000_0000;
        registers.SourceOf(store).ShouldBe(source);
        for (int i = 0; i < code.Length; i++)
        {
            BlockStore.TryDecode(code.AsSpan(0, i), out _).ShouldBeFalse();
        }
    }

    [Theory]
    [InlineData("f30f38f802")] // enqcmds: of the kernel
    [InlineData("0f38f802")]
    [InlineData("660f38f8c2")]
    [InlineData("67660f38f802")]
    public void No_other_instruction_is_taken_for_one(string hex) => BlockStore.TryDecode(Convert.FromHexString(hex), out _).ShouldBeFalse();

    [Fact]
    public void No_bytes_make_the_decoder_fail_or_read_beyond_them() => Prop.ForAll<byte[]>(code =>
    {
        if (Instruction.TryDecode(code, out Instruction instruction))
        {
            instruction.Length.ShouldBeInRange(1, code.Length);
            instruction.Size.ShouldBeOneOf(1, 2, 4, 8, 16, 32, 64);
            instruction.Register.ShouldBeInRange(-1, 31);
        }
    }).QuickCheckThrowOnFailure();
}
