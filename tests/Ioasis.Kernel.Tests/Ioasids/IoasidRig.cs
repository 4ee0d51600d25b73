using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;
using PasidSet = Ioasis.Client.PasidSet;

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>Two devices with PASIDs, bound to a <c>/dev/iommu</c> with one address space, and a <c>/dev/ioasid</c> with a set.</summary>
internal sealed class IoasidRig : IDisposable
{
    public const ulong Iova = 0x10000;

    public IoasidRig(FakeIommu? iommu = null, int? group = null)
    {
        Rig = new(null, iommu);
        for (int i = 0; i < Nodes.Length; i++)
        {
            (Nodes[i], Paths[i]) = Rig.AddCapableDevice(group);
        }

        Iommu = IommuFd.Open(Rig.Kernel);
        for (int i = 0; i < Devices.Length; i++)
        {
            Devices[i] = VfioDevice.Open(Rig.Kernel, Paths[i]);
            _ = Devices[i].Bind(Iommu);
        }

        Space = Iommu.AllocateAddressSpace();
        Space.Map(new(FakeUserMemory.Start, 4096), new(Iova), Access.ReadWrite);
        Pasids = PasidFd.Open(Rig.Kernel);
        Set = Pasids.CreateSet(10);
    }

    public Rig Rig { get; }

    public IommuDevice[] Nodes { get; } = new IommuDevice[2];

    public string[] Paths { get; } = new string[2];

    public VfioDevice[] Devices { get; } = new VfioDevice[2];

    public IommuFd Iommu { get; }

    public IoAddressSpace Space { get; }

    public PasidFd Pasids { get; }

    public PasidSet Set { get; }

    public int Fd => Pasids.Descriptor.Number;

    /// <summary>Whether DMA of a device with a PASID reaches the memory of <see cref="Space"/>.</summary>
    public bool Reaches(int device, Pasid pasid) =>
        Rig.Iommu.DomainOf(Nodes[device], pasid) is FakeDomain domain && domain.TryTranslate(new(Iova), out _, out _, out _);

    /// <summary>What a device may use, as the kernel lists it.</summary>
    public Pasid[] Listed(int device)
    {
        IoasidDeviceListArgument list = new() { Count = 64, Ioasids = FakeUserMemory.ArgumentStart };
        Rig.Call(Devices[device].Descriptor.Number, ref list).ShouldBe(0);
        return [.. MemoryMarshal.Cast<byte, uint>(Rig.Memory.Arguments)[..(int)list.Count].ToArray().Select(static number => new Pasid(number))];
    }

    public int Raw<T>(int fd, T argument)
        where T : unmanaged, ISizedArgument => Rig.Call(fd, ref argument);

    public void ShouldBeClean()
    {
        Rig.ShouldBeClean();
        Rig.KernelSide.Pasids.Audit.IsEmpty.ShouldBeTrue(Rig.KernelSide.Pasids.Audit.ToString());
        Rig.KernelSide.Pasids.GetDrainReports().ShouldBeEmpty();
        foreach (IommuDevice device in Nodes)
        {
            for (uint pasid = 1; pasid < 256; pasid++)
            {
                device.Group.GetPasidDomain(new(pasid)).ShouldBe(BlockedDomain.Instance);
            }
        }
    }

    public void Dispose()
    {
        Array.ForEach(Devices, static device => device.Dispose());
        Set.Dispose();
        Pasids.Dispose();
        Space.Dispose();
        Iommu.Dispose();
        Rig.Kernel.CloseAll();
        ShouldBeClean();
    }
}
