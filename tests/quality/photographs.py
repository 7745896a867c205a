"""What collect.py collects: which pictures of which packages, and in which pairs. Chosen by eye, before the engine ran on any of them.

FIRST is the set of the first edition of the engine: ten photographs of single products and animals, fifteen flat materials. SECOND
adds what that set lacks: materials shown as things (cymbal, coin, cup, toy car, boot, fur), faces, fabrics with folds, prints and
labels, thin parts, product shots with a transparent background. The licence is the picture's own where the package states one, else the
package's.
"""

AVATARS = "usr/share/plasma/avatars/photos"
UPLOADS = "package/public/uploads"
ROBOSUITE = "robosuite/models/assets/textures"
METAWORLD = "metaworld/assets/scene/textures"
CATALOG = "package/demo/src/catalog"
STATIC = "package/dist/static"
SPEAKERS = "package/src/assets/img/speakers"
STAMPS = "usr/share/tuxpaint/stamps"
DEMOS = "package/dist/demos/_assets/img"
# package: registry, licence, and the pictures taken, by the name they get here
PACKAGES = {
    "plasma-workspace-data": ("deb", "CC0-1.0", {
        "balloon": f"{AVATARS}/Air Balloon.png",
        "chameleon": f"{AVATARS}/Chameleon.png",
        "dog": f"{AVATARS}/Dog.png",
        "gamepad": f"{AVATARS}/Gamepad.png",
        "parrot": f"{AVATARS}/Parrot.png",
        "spacesuit": f"{AVATARS}/Astronaut.png",
        "soccer": f"{AVATARS}/Soccer.png",
    }),
    "tuxpaint-stamps-default": ("deb", "GPL-2+ and public domain, per picture", {
        "cymbal": f"{STAMPS}/hobbies/music/percussion/cymbal_crash.png",
        "trumpet": f"{STAMPS}/hobbies/music/brass/trumpet.png",
        "crane": f"{STAMPS}/animals/birds/crowned_crane.png",
        "firetruck": f"{STAMPS}/vehicles/emergency/firetruck.png",
        "wheel": f"{STAMPS}/vehicles/wheel_tractor.png",
        "stripes": f"{STAMPS}/vehicles/flight/balloon360.png",
    }),
    "express-cart@1.1.10": ("npm", "MIT", {
        "backpack": f"{UPLOADS}/scout-backpack/scout-backpack_a035275d-8975-4a05-8456-5e1ec35f020f_grande.jpg",
        "boot": f"{UPLOADS}/ranger-boot/boot_grande.jpg",
        "cap": f"{UPLOADS}/5-panel-cap/5-panel-hat_4ee20a27-8d5a-490e-a2fc-1f9c3beb7bf5_grande.jpg",
        "jacket": f"{UPLOADS}/duckworth-jacket/woolfill-jacket_6c39ae23-c0c8-4821-85f4-4b5d64333c62_grande.jpg",
        "shirt": f"{UPLOADS}/Ayres Chambray/chambray_5f232530-4331-492a-872c-81c225d6bafd_590x.jpg",
    }),
    "xzoom@1.0.15": ("npm", "Apache-2.0", {
        "car": "package/doc/images/gallery/original/02_o_car.jpg",
        "toycar": "package/doc/images/gallery/original/04_g_car.jpg",
        "paint": "package/doc/images/gallery/original/03_r_car.jpg",
    }),
    "imgaug==0.4.0": ("pypi", "MIT", {"quokka": "imgaug/quokka.jpg"}),
    "scikit-image==0.25.2": ("pypi", "BSD-3-Clause; the pictures CC0 or public domain", {
        "astronaut": "skimage/data/astronaut.png",
        "coffee": "skimage/data/coffee.png",
        "motorcycle": "skimage/data/motorcycle_left.png",
        "chelsea": "skimage/data/chelsea.png",
    }),
    "matplotlib==3.11.2": ("pypi", "PSF; the picture public domain", {"hopper": "matplotlib/mpl-data/sample_data/grace_hopper.jpg"}),
    "robosuite==1.5.2": ("pypi", "MIT", {
        "brass": f"{ROBOSUITE}/brass-ambra.png",
        "clay": f"{ROBOSUITE}/clay.png",
        "peel": f"{ROBOSUITE}/lemon.png",
        "steel": f"{ROBOSUITE}/metal.png",
        "brushed": f"{ROBOSUITE}/steel-brushed.png",
        "redwood": f"{ROBOSUITE}/red-wood.png",
        "parquet": f"{ROBOSUITE}/wood-tiles.png",
        "whitebricks": f"{ROBOSUITE}/white-bricks.png",
        "darkwood": f"{ROBOSUITE}/dark-wood.png",
    }),
    "metaworld==3.1.1": ("pypi", "MIT", {
        "burlap": f"{METAWORLD}/fabricPlain.png",
        "houndstooth": f"{METAWORLD}/fabricPattern.png",
        "planks": f"{METAWORLD}/wood.png",
    }),
    "miniworld==2.1.0": ("pypi", "Apache-2.0", {
        "aquamarine": "miniworld/textures/water_1.png",
        "cracks": "miniworld/textures/rock_1.png",
        "marble": "miniworld/textures/marble_1.png",
        "bricks": "miniworld/textures/brick_wall_1.png",
        "lava": "miniworld/textures/lava_1.png",
        "slime": "miniworld/textures/slime_1.png",
    }),
    "vpython==7.6.5": ("pypi", "MIT", {
        "driftwood": "vpython/vpython_data/wood_old_texture.jpg",
        "granite": "vpython/vpython_data/granite_texture.jpg",
        "pebbles": "vpython/vpython_data/stones_texture.jpg",
        "walnut": "vpython/vpython_data/wood_texture.jpg",
        "rug": "vpython/vpython_data/rug_texture.jpg",
        "slate": "vpython/vpython_data/rock_texture.jpg",
        "gravel": "vpython/vpython_data/gravel_texture.jpg",
    }),
    "@tabler/preview@1.2.0": ("npm", "MIT", {
        "nero": f"{STATIC}/photos/stone-texture-high-resolution-background.jpg",
        "coin": f"{STATIC}/photos/cryptocurrency-bitcoin-coins-2.jpg",
        "cup": f"{STATIC}/photos/cup-of-coffee-on-table-in-cafe-2.jpg",
        "girl": f"{STATIC}/photos/portrait-of-a-teen-girl.jpg",
        "man": f"{STATIC}/avatars/011m.jpg",
        "woman": f"{STATIC}/avatars/015f.jpg",
        "glasses": f"{STATIC}/products/product-2.jpg",
        "keys": f"{STATIC}/products/product-5.jpg",
        "pipe": f"{STATIC}/products/product-7.jpg",
        "scissors": f"{STATIC}/products/product-8.jpg",
        "clock": f"{STATIC}/products/product-11.jpg",
        "camera": f"{STATIC}/products/product-12.jpg",
        "bowtie": f"{STATIC}/products/product-13.jpg",
    }),
    "react-planner@2.0.6": ("npm", "MIT", {
        "bronze": f"{CATALOG}/items/umbrella-stand/bronze-texture.jpg",
        "copper": f"{CATALOG}/items/column/copper.jpg",
        "hide": f"{CATALOG}/items/sofa/texture.jpg",
    }),
    "ionic-conference-app@0.0.0": ("npm", "Apache-2.0", {
        "bear": f"{SPEAKERS}/bear.jpg",
        "elephant": f"{SPEAKERS}/elephant.jpg",
        "lion": f"{SPEAKERS}/lion.jpg",
        "rabbit": f"{SPEAKERS}/rabbit.jpg",
        "turtle": f"{SPEAKERS}/turtle.jpg",
        "eagle": f"{SPEAKERS}/eagle.jpg",
        "iguana": f"{SPEAKERS}/iguana.jpg",
    }),
    "@olton/metroui@5.1.20": ("npm", "MIT", {
        "tiger": "package/examples/images/tiger.webp",
        "puma": "package/examples/images/puma.webp",
    }),
    "jquery-mobile@1.4.1": ("npm", "MIT", {
        "bicycle": f"{DEMOS}/bike.jpg",
        "tesla": f"{DEMOS}/tesla.jpg",
        "landrover": f"{DEMOS}/landrover.jpg",
    }),
    "owlcarousel@1.3.3": ("npm", "MIT", {"owl": "package/demos/assets/owl2.jpg"}),
}
# kind of material: its pairs
FIRST = {
    "smooth": ["cap peel", "gamepad bronze"],
    "veined": ["boot nero", "quokka marble"],
    "rough": ["dog clay", "backpack granite"],
    "metallic": ["boot steel", "parrot brass"],
    "woven": ["car burlap", "chameleon houndstooth"],
    "wooden": ["gamepad driftwood", "quokka planks"],
    "gem-like": ["backpack aquamarine"],
    "large-featured": ["balloon pebbles", "dog cracks"],
}
# kind of subject: its pairs; `object` where the material picture shows a thing
SECOND = {
    "faces": ["man walnut", "woman slate", "girl redwood", "hopper brushed", "astronaut rug", "woman cymbal object"],
    "animals": ["lion copper", "tiger parquet", "elephant whitebricks", "owl gravel", "rabbit coin object", "turtle lava",
                "eagle paint object", "iguana cymbal object"],
    "cars": ["tesla rug", "toycar tiger object", "landrover boot object", "toycar bricks"],
    "folds": ["jacket nero", "shirt hide", "spacesuit copper", "jacket coin object", "bowtie darkwood"],
    "prints": ["soccer hide", "camera walnut", "clock slime", "cap cup object", "bear houndstooth"],
    "thin parts": ["bicycle brass", "glasses redwood", "scissors slate", "motorcycle copper", "keys paint object"],
    "transparent": ["crane cymbal object", "firetruck planks", "stripes burlap", "wheel marble", "trumpet cup object"],
    "things": ["coffee brass", "pipe marble", "chelsea trumpet object", "cup walnut"],
}
