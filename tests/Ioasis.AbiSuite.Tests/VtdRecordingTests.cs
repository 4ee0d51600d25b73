using System.Globalization;
using Ioasis.Devices.Nvme;
using Ioasis.Embedded;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Driver;
using Ioasis.Intel.Hardware;

namespace Ioasis.AbiSuite.Tests;

/// <summary>
/// What a monitor asks of VT-d, right and wrong, note by note against what Linux 7.2 answered in a guest whose IOMMU said the same of itself
/// in <c>CAP_REG</c> and <c>ECAP_REG</c>: in legacy mode, and in scalable mode with second stages, with first stages, and with both and nesting; and of a device
/// with PASIDs, ATS and page requests.
/// </summary>
public sealed class VtdRecordingTests
{
    // Flags and a reserved field are 8 bytes, then comes CAP_REG.
    private const int GuestWidthByte = 10;
    private const ulong GuestWidth = 57;

    private const string WithPasids = "vtd-pasids";

    private static readonly string[] s_guests = ["vtd-legacy", "vtd-second-stage", "vtd-first-stage", "vtd-nesting", WithPasids];

    /// <summary>Each case on each guest.</summary>
    public static IEnumerable<TheoryDataRow<string, string>> Cases { get; } =
    [
        .. s_guests.SelectMany(static guest => SuiteRunner.VtdCases.Select(
            @case => new TheoryDataRow<string, string>(guest, @case.Name).WithTrait("Requirement", @case.Requirement))),
    ];

    [Theory]
    [MemberData(nameof(Cases))]
    public void The_embedded_kernel_answers_as_Linux_does(string guest, string name)
    {
        AbiCase @case = SuiteRunner.VtdCases.Single(candidate => string.Equals(candidate.Name, name, StringComparison.Ordinal));
        using EmbeddedMachine machine = new(SlotOf(guest), device: guest == WithPasids ? NewDevice() : null);
        CaseRecord found = SuiteRunner.Run(@case, machine.Target);
        machine.Platform.Audit.ShouldBe(default);
        found.Notes.ShouldNotBeEmpty();
        List<Difference> differences = [.. Recording.Read(guest)[name].Compare(found).Where(static difference => !IsOfTheUnit(difference))];
        differences.Where(difference => !VtdDifferences.IsKnown(guest, difference)).Select(static difference => difference.ToString())
            .Concat(VtdDifferences.Missing(guest, name, differences))
            .ShouldBeEmpty();
    }

    // Our unit has no erratum of Sapphire Rapids, which Linux tells of each (the first bit of the flags), and reaches the memory of
    // this process: its CAP_REG.MGAW, six bits of the eleventh byte, is larger. All else must be equal, to the byte.
    private static bool IsOfTheUnit(Difference difference)
    {
        int hex = difference.Expected.LastIndexOf(' ') + 1;
        if (difference.Case != "vtd-hardware-info" || !difference.Expected.StartsWith("0 type 1 length 24 ", StringComparison.Ordinal))
        {
            return false;
        }

        byte[] data = Convert.FromHexString(difference.Expected[hex..]);
        data[0] &= 0xfe;
        if (data.Length > GuestWidthByte)
        {
            data[GuestWidthByte] = (byte)((data[GuestWidthByte] & 0xc0u) | (GuestWidth - 1));
        }

        return string.Equals(difference.Expected[..hex] + Convert.ToHexStringLower(data), difference.Found, StringComparison.Ordinal);
    }

    // What lab/linux-guest/run gave the guest: nvme,pasid-bits=20,ats=on,pri=on.
    private static NvmeController NewDevice() => new(new() { PasidBits = 20, Ats = true, PageRequests = true });

    // The unit as the guest's registers describe it.
    private static VtdIommuSlot SlotOf(string guest)
    {
        string[] registers = Recording.Registers(guest).Split(' ');
        ulong capabilities = ulong.Parse(registers[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        ulong extended = ulong.Parse(registers[2], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        return new()
        {
            Hardware = new()
            {
                Capabilities = new((capabilities & ~(0x3ful << Capability.GuestAddressWidthShift))
                    | ((GuestWidth - 1) << Capability.GuestAddressWidthShift)),
                ExtendedCapabilities = new(extended),
            },
            Driver = new()
            {
                Mode = (extended & ExtendedCapability.ScalableModeBit) != 0 ? VtdMode.Scalable : VtdMode.Legacy,

                // Linux prefers first stages, where a table is not asked to be something else.
                FirstStageDomains = (extended & ExtendedCapability.FirstStageBit) != 0,
            },
        };
    }
}
