using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>A driver that went without a word: its queue on, its interrupts on, a device attached, its translation cached.</summary>
internal static class AbandonedDriver
{
    private const ulong Iova = 0x7000_0000;
    private const ulong SecretOffset = 9 * LabRig.Page;

    private static readonly byte[] s_noise = LabRig.Noise(4, 64);

    /// <summary>Has a driver that the rig does not know do DMA, and leave a fault that nobody reads.</summary>
    public static void UseAndLeave(LabRig rig, IommuInstance driver)
    {
        EduDevice edu = new(rig.Machine, rig.Pci.Find(EduDevice.Vendor, EduDevice.Product)[0]);
        new IommuSubsystem().TryAddDevice(driver, edu.Id, "edu", null, new(), out IommuDevice? device).ShouldBe(Errno.Success);
        driver.TryAllocatePagingDomain(device!, default, out PagingDomain? domain).ShouldBe(Errno.Success);
        ulong secret = rig.Data.Start + SecretOffset;
        domain!.ShouldMap(Iova, secret);
        device!.Group.Attach(domain!).ShouldBe(Errno.Success);
        rig.Memory.Write(new(secret), s_noise);
        edu.ReadMemory(new(Iova), 64);
        edu.WriteMemory(new(Iova + 0x800), 64);
        rig.Memory.ReadBytes(new(secret + 0x800), 64).ShouldBe(s_noise);
        edu.ReadMemory(new(0x1_0000_0000), 4);
    }

    /// <summary>The same device under the same names as before: the old translation must not come back.</summary>
    public static void ShouldBeForgotten(LabRig rig)
    {
        EduDevice edu = rig.Edus[0];
        rig.ShouldFault(edu, Iova, Refusal.NotAttached);
        PagingDomain domain = rig.NewAttachedDomain(edu);
        rig.ShouldFault(edu, Iova, Refusal.NotMapped);
        domain.ShouldMap(Iova, rig.Data.Start);
        rig.ShouldReach(edu, Iova, rig.Data.Start);
        rig.Memory.ReadBytes(new(rig.Data.Start + SecretOffset), 64).ShouldBe(s_noise);
    }
}
