using System.Text.Json;
using Ioasis.Testing;

namespace Ioasis.AbiSuite.Tests;

/// <summary>The same suite on Linux itself: the recording that the embedded kernel is held to is what Linux says today.</summary>
public sealed class LinuxTests
{
    private const string Debian = "Debian's kernel";
    private const string Iommufd = "Debian's sources with iommufd";

    // Debian's configuration of the kernel, where it shows: no iommufd, but dma-buf of device memory.
    private static readonly HashSet<string> s_configuration = new(StringComparer.Ordinal)
    {
        "device-unknown-calls / 0x3b76: expected EINVAL, found ENOTTY",
        "device-feature / probe-b: expected ENOTTY, found 0",
        "device-feature / probe-get-b: expected ENOTTY, found 0",
        "device-feature / probe-set-b: expected ENOTTY, found EINVAL",
    };

    // QEMU's options for the IOMMU of each guest whose answers about VT-d are recorded, whether its registers are changed to those that
    // are recorded (QEMU's unit does not nest), and the function of ours that is there in place of QEMU's edu devices.
    private static readonly Dictionary<string, (string Iommu, bool IsScalable, bool ChangesRegisters, string Function)> s_vtdGuests =
        new(StringComparer.Ordinal)
        {
            ["vtd-legacy"] = ("aw-bits=48", false, false, ""),
            ["vtd-second-stage"] = ("scalable-mode=on,aw-bits=48", true, false, ""),
            ["vtd-first-stage"] = ("scalable-mode=on,fsts=on,aw-bits=48", true, false, ""),
            ["vtd-nesting"] = ("scalable-mode=on,aw-bits=48", true, true, ""),
            ["vtd-pasids"] = (
                "scalable-mode=on,fsts=on,pasid-bits=20,svm=on,device-iotlb=on,aw-bits=48", true, false, "nvme,pasid-bits=20,ats=on,pri=on"),
        };

    /// <summary>The kernels to boot. The second is built from its sources, which takes minutes: with IOASIS_TEST_ALL=1, as for VT-d's guests.</summary>
    public static TheoryData<string> Kernels { get; } =
        string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal)
            ? [Debian, Iommufd, .. s_vtdGuests.Keys]
            : [Debian];

    [Theory]
    [MemberData(nameof(Kernels))]
    [Trait("Requirement", "S3.9")]
    [Trait("Requirement", "S1.15")]
    public void Linux_answers_as_recorded_and_edu_does_its_DMA(string kernel)
    {
        if (s_vtdGuests.TryGetValue(kernel, out (string Iommu, bool IsScalable, bool ChangesRegisters, string Function) guest))
        {
            CompareVtd(kernel, guest.Iommu, guest.IsScalable, guest.ChangesRegisters, guest.Function);
            return;
        }

        bool isDebian = string.Equals(kernel, Debian, StringComparison.Ordinal);
        string[] lines = Guest.Run(isDebian ? null : Guest.BuildKernel());
        Compare(lines, isDebian);

        // The topology that the embedded platform of these tests copies.
        lines.Where(static line => line.StartsWith("reserved: ", StringComparison.Ordinal))
            .Select(static line => string.Join(' ', line.Split(' ')[2..]))
            .ShouldBe(Enumerable.Repeat("0x00000000fee00000 0x00000000feefffff msi", 2));
    }

    /// <summary>
    /// A program of the guest drives devices of ours: by the guest's VFIO and IOMMU, QEMU's <c>vfio-pci</c> and our kernel side. Their registers,
    /// interrupts, DMA and faults are there as those of QEMU's own devices are.
    /// </summary>
    [Theory]
    [InlineData("-device vfio-pci,host=0000:00:01.0 -device vfio-pci,host=0000:00:02.0")]
    [InlineData("-object iommufd,id=i0 -device vfio-pci,host=0000:00:01.0,iommufd=i0 -device vfio-pci,host=0000:00:02.0,iommufd=i0")]
    public void Our_devices_given_to_a_guest_by_QEMU_do_there_what_QEMUs_own_do(string devices)
    {
        Compare(Guest.RunOnOurDevices(devices, out ExecRun run), isDebian: true);

        // What the guest had unmapped, and what it had mapped for reading: our IOMMU refused both.
        JsonElement summary = run.Summary!.Value;
        summary.GetProperty("faults").GetInt64().ShouldBeGreaterThan(0);
        summary.GetProperty("firstFaults").EnumerateArray().ShouldAllBe(static fault => fault.GetProperty("access").GetString() == "write");
        run.Left.ShouldBeEmpty();
    }

    private static void CompareVtd(string guest, string iommu, bool isScalable, bool changesRegisters, string function)
    {
        string registers = Recording.Registers(guest);
        string[] lines = Guest.RunVtd(Guest.BuildKernel(), guest, new()
        {
            ["IOASIS_GUEST_IOMMU"] = iommu,
            ["IOASIS_GUEST_APPEND"] = isScalable ? "intel_iommu=on,sm_on" : "",
            ["IOASIS_GUEST_CAP"] = changesRegisters ? "0x" + registers.Split(' ')[1] : "",
            ["IOASIS_GUEST_ECAP"] = changesRegisters ? "0x" + registers.Split(' ')[2] : "",
            ["IOASIS_GUEST_FUNCTION"] = function,
            ["IOASIS"] = $"dotnet exec {ExternalProgram.IoasisCommand}",
        });
        lines.ShouldContain(registers);
        IReadOnlyDictionary<string, CaseRecord> records = CaseRecord.Parse(lines);
        records.Keys.ShouldBe(SuiteRunner.VtdCases.Select(static @case => @case.Name), ignoreOrder: true);
        records.Values.SelectMany(record => Recording.Read(guest)[record.Name].Compare(record))
            .Select(static difference => difference.ToString())
            .ShouldBeEmpty();
    }

    private static void Compare(string[] lines, bool isDebian)
    {
        IReadOnlyDictionary<string, CaseRecord> records = CaseRecord.Parse(lines);
        SuiteRunner.Cases
            .Where(@case => !isDebian || (@case.Needs & (CaseNeeds.Iommufd | CaseNeeds.DeviceNode | CaseNeeds.Compatibility)) == 0)
            .Select(static @case => @case.Name)
            .ShouldBe(records.Keys, ignoreOrder: true);
        records.Values.SelectMany(static record => Recording.Linux[record.Name].Compare(record))
            .Select(static difference => difference.ToString())
            .Except(isDebian ? s_configuration : [], StringComparer.Ordinal)
            .ShouldBeEmpty();
    }
}
