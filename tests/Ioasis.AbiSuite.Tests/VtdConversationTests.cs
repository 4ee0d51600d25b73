using System.Globalization;
using Ioasis.Embedded;
using Ioasis.Intel.Driver;

namespace Ioasis.AbiSuite.Tests;

/// <summary>
/// What a monitor asks of VT-d, right and wrong, of the unit that machines have by default: each case must run to its end and leave nothing
/// behind. <see cref="VtdRecordingTests"/> compares the answers with Linux's, for units as the recorded guests had them.
/// </summary>
public sealed class VtdConversationTests
{
    /// <summary>Each case in each mode.</summary>
    public static IEnumerable<TheoryDataRow<VtdMode, string>> Cases { get; } =
    [
        .. ((VtdMode[])[VtdMode.Legacy, VtdMode.Scalable]).SelectMany(static mode => SuiteRunner.VtdCases.Select(
            @case => new TheoryDataRow<VtdMode, string>(mode, @case.Name).WithTrait("Requirement", @case.Requirement))),
    ];

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_conversation_ends_and_nothing_of_it_is_left(VtdMode mode, string name)
    {
        AbiCase @case = SuiteRunner.VtdCases.Single(candidate => string.Equals(candidate.Name, name, StringComparison.Ordinal));
        using EmbeddedMachine machine = NewMachine(mode);
        long before = machine.Platform.TableBytes;
        CaseRecord found = SuiteRunner.Run(@case, machine.Target);
        found.Notes.ShouldNotBeEmpty();
        found.Notes.ShouldNotContain(static note => note.Label == "exception");
        found.Notes.ShouldNotContain(static note => note.Label == "prepare");
        machine.Platform.Audit.ShouldBe(default);
        machine.Platform.Driver.Usage.AddressSpaces.ShouldBe(0);
        machine.Platform.LostFaults.ShouldBe(0);

        // A device's PASID directory may have grown; nothing else stays.
        (machine.Platform.TableBytes - before).ShouldBeLessThanOrEqualTo(4096);
    }

    [Theory]
    [InlineData(VtdMode.Legacy)]
    [InlineData(VtdMode.Scalable)]
    public void The_registers_are_told_as_they_are_and_only_scalable_mode_nests(VtdMode mode)
    {
        using EmbeddedMachine machine = NewMachine(mode);
        var iommu = (EmbeddedVtdIommu)machine.Platform.Iommu;
        string told = Answer("vtd-hardware-info", "length-24");
        told.ShouldStartWith("0 type 1 length 24 ");

        // flags, 0, CAP_REG, ECAP_REG (struct iommu_hw_info_vtd).
        string registers = told[(told.LastIndexOf(' ') + 17)..];
        registers.ShouldBe(Bytes(iommu.Instance.CapabilityRegister) + Bytes(iommu.Instance.ExtendedCapabilityRegister));
        bool isScalable = mode == VtdMode.Scalable;
        Answer("vtd-tables", "flags-1").ShouldBe(isScalable ? "0" : "EOPNOTSUPP");
        Answer("vtd-nested-alloc", isScalable ? "on-parent" : "parent").ShouldBe(isScalable ? "0" : "EOPNOTSUPP");
        Answer("vtd-nested-invalidate", "attached-page").ShouldBe(isScalable ? "0 done 1" : "EINVAL done 0");

        string Answer(string name, string label) =>
            SuiteRunner.Run(SuiteRunner.VtdCases.Single(one => string.Equals(one.Name, name, StringComparison.Ordinal)), machine.Target)
                .Notes.Single(note => string.Equals(note.Label, label, StringComparison.Ordinal)).Value;
    }

    private static string Bytes(ulong register) => string.Concat(
        BitConverter.GetBytes(register).Select(static one => one.ToString("x2", CultureInfo.InvariantCulture)));

    private static EmbeddedMachine NewMachine(VtdMode mode) => new(new VtdIommuSlot { Driver = new() { Mode = mode } });
}
